"""What the operators' commands share: the stack that runs, tables, and files that only their owner may read."""

import hashlib
import json
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from deploy.errors import Failed
from deploy.local import data_folder
from deploy.local.running import RunningStack
from operators.connectors.postgres.hidden_rows import PostgresHiddenRows
from operators.dicom.instance import data_hasher
from operators.errors import Rejected, Unavailable
from operators.store.ports import ObjectStore, StoredObject
from schemas.objects import TENANT, Bucket
from schemas.settings.reading import SettingsError

MOST, MOST_OF_ALL = 1000, 1_000_000
# What a server is called in a message, by what Unavailable says of it.
SERVERS = {"catalog": "the catalog's database", "store": "the object store", "broker": "the broker"}


def here() -> RunningStack:
    """Return the stack that runs on this machine; raises Failed when none does."""
    stack = RunningStack(data_folder.here())
    stack.state()
    return stack


def aside(stack: RunningStack) -> PostgresHiddenRows:
    """Return what is kept and not shown; only the role writer sees every tenant's."""
    return PostgresHiddenRows(stack.catalog("writer"))


def add_choices(parser: ArgumentParser) -> None:
    """Add the options of every list."""
    add_tenant(parser)
    parser.add_argument("--json", action="store_true", help="as JSON, a line for each")
    parser.add_argument("--most", type=count, default=MOST, help=f"at most so many, the latest first ({MOST})")


def add_tenant(parser: ArgumentParser) -> None:
    """Add the option that says whose."""
    parser.add_argument("--tenant", type=tenant, help="of this tenant only (all)")


def count(text: str) -> int:
    """Read how many; raises ArgumentTypeError."""
    with suppress(ValueError):
        if 0 < int(text) <= MOST_OF_ALL:
            return int(text)
    raise ArgumentTypeError(f"{text!r} should be a whole number from 1 to {MOST_OF_ALL}")


def tenant(text: str) -> str:
    """Read a tenant's name; raises ArgumentTypeError."""
    if not TENANT.fullmatch(text):
        raise ArgumentTypeError(f"{text!r} should be 1 to 32 of a-z, 0-9 and -")
    return text


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as aligned text, their headings first."""
    cells = [tuple(headings), *(tuple(shown(value) for value in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def details(values: Mapping[str, Any]) -> str:
    """Return names and values, a line each."""
    width = max(map(len, values))
    return "\n".join(f"{name:<{width}}  {shown(value)}" for name, value in values.items())


def shown(value: Any) -> str:
    """Return a value as it may be printed: a sender's text moves no cursor of ours."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return "".join(one if one.isprintable() else "?" for one in str(value)) or "-"


def as_json(values: Mapping[str, Any]) -> str:
    """Return values as one line of JSON."""
    return json.dumps(values, default=lambda one: one.isoformat() if isinstance(one, datetime) else str(one))


async def copy(store: ObjectStore, bucket: Bucket, key: str, data_hash: str, file: IO[bytes]) -> StoredObject:
    """Copy an object into a file, and check it as it passes; raises Failed when it is gone or not what was stored."""
    stored = await store.head(bucket, key)
    if stored is None:
        raise Failed(f"its object is not there any more: {key}")
    envelope, left = stored.envelope, stored.envelope.prefix_length
    prefix, data_set = hashlib.sha256(), data_hasher(envelope.transfer_syntax)
    with suppress(KeyError):
        async for chunk in store.read(bucket, key):
            prefix.update(chunk[:left])
            data_set.update(chunk[left:])
            left -= min(left, len(chunk))
            file.write(chunk)
    if (prefix.hexdigest(), data_set.hexdigest()) != (envelope.prefix_hash, data_hash):
        raise Failed(f"its object is not what was stored: {key}")
    return stored


def new_folder(path: Path) -> None:
    """Make a folder that nobody else may read, unless it is there; raises Failed when it cannot be made."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Failed(f"{path} cannot be made: {error.strerror}") from error


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Have a new file that nobody else may read, and none when the block fails; raises Failed when it cannot be made."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Failed(f"{path} is there already: name another file") from None
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        try:
            yield file
            file.flush()
        except BaseException:
            path.unlink()
            raise


def server(error: Unavailable) -> str:
    """Return the name of what does not answer."""
    return next((name for what, name in SERVERS.items() if error.what.startswith(what)), error.what)


def run(command: Callable[[], None]) -> int:
    """Run a command; exit status 0 all well, 1 a problem, said in a line, 130 stopped."""
    try:
        command()
    except (Failed, SettingsError) as failure:
        return fail(str(failure))
    except Unavailable as error:
        return fail(f"{server(error)} does not answer: nothing was changed that was not said")
    except Rejected as error:
        return fail(f"that is nothing of ours: {error.reason}")
    except BrokenPipeError:
        # Whoever read has had enough.
        sys.stdout = None
        return 0
    except KeyboardInterrupt:
        return 130
    return 0


def fail(line: str) -> int:
    """Return what is wrong."""
    print(line, file=sys.stderr, flush=True)
    return 1
