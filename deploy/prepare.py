"""Make what the servers must hold, before first use and at each upgrade.

    python -m deploy.prepare [roles] [catalog] [topics] [buckets]

Without a name all of it, in this order: the catalog's database with the roles writer and reader, its tables, the topics of
the broker, the buckets of the store. What exists already is left unchanged, save for the few settings of topics that
the archive cannot do without, so it can be run again at any time. Settings come from the environment, for a role, a
user and a key that may make these things (docs/operations.md). A line says what was done. A server that does not answer
is tried again for half a minute.
"""

import argparse
import asyncio
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

from deploy.commands.problems import server_name
from operators.errors import Unavailable
from schemas.objects import Bucket
from schemas.settings.intake import QuarantineSettings
from schemas.settings.reading import SettingsError, load
from schemas.settings.servers import BrokerSettings, CatalogSettings, RoleSettings, StoreSettings
from schemas.telemetry import set_up_logs

WAIT_S = 30.0
RETRY_S = 0.2
# Words of a server that refuses: another try would be refused too.
REFUSAL = re.compile(r"certificate|authenticat|authoriz|permission|pg_hba|: 4\d\d|does not exist", re.IGNORECASE)
NO_LIFECYCLE = (
    "WARNING: this object store has no lifecycle rules. Objects stay in bucket {bucket} longer than {days} days and count"
    " against the quotas until you remove them: python -m deploy.commands quarantine discard"
)


class NotPrepared(Exception):
    """A server cannot be prepared; the message is one line with the server and the cause."""


async def roles() -> list[str]:
    """Make the database and the roles writer and reader, with their passwords and rights."""
    from operators.connectors.postgres.roles import RightMissing, prepare_roles  # noqa: PLC0415 - only its own client

    passwords = load(RoleSettings, os.environ)
    try:
        return await asyncio.to_thread(prepare_roles, load(CatalogSettings, os.environ), passwords)
    except RightMissing as error:
        raise NotPrepared(str(error)) from error


async def catalog() -> list[str]:
    """Apply every migration that the catalog does not have yet."""
    from operators.connectors.postgres.migrations import SchemaMismatch, apply  # noqa: PLC0415
    from operators.connectors.postgres.roles import RightMissing, failures_of  # noqa: PLC0415

    settings = load(CatalogSettings, os.environ)
    try:
        with failures_of(settings):
            return [f"tables: DDL {number} applied" for number in await apply(settings)] or ["tables: are there"]
    except (SchemaMismatch, RightMissing) as error:
        raise NotPrepared(str(error)) from error


async def topics() -> list[str]:
    """Create every topic of schemas/topics.py, and alter those of other hands where the archive needs it."""
    from operators.connectors.kafka.topics import prepare_topics  # noqa: PLC0415

    return await prepare_topics(load(BrokerSettings, os.environ))


async def buckets() -> list[str]:
    """Create the buckets, and have the store delete old objects of the quarantine, if it can."""
    from operators.connectors.s3.store import S3ObjectStore  # noqa: PLC0415

    days, settings = load(QuarantineSettings, os.environ).days, load(StoreSettings, os.environ)
    async with S3ObjectStore(settings) as store:
        made = {bucket: await store.make_bucket(bucket) for bucket in Bucket}
        has_rules = await store.expire(Bucket.QUARANTINE, days)
    names = {bucket: f"{settings.bucket_prefix}{bucket}" for bucket in Bucket}
    done = [f"bucket {names[bucket]}: {'made' if is_new else 'is there'}" for bucket, is_new in made.items()]
    rule = f"bucket {names[Bucket.QUARANTINE]}: its objects are deleted after {days} days"
    return [*done, rule if has_rules else NO_LIFECYCLE.format(bucket=names[Bucket.QUARANTINE], days=days)]


PREPARATIONS: dict[str, Callable[[], Awaitable[list[str]]]] = {
    "roles": roles,
    "catalog": catalog,
    "topics": topics,
    "buckets": buckets,
}


async def when_available(prepare: Callable[[], Awaitable[list[str]]]) -> list[str]:
    """Prepare a server as soon as it answers, and return what was done; raises Unavailable when it does not within WAIT_S."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return await prepare()
        except Unavailable as error:
            if time.monotonic() > deadline or REFUSAL.search(error.why):
                raise
            await asyncio.sleep(RETRY_S)


def prepared(name: str) -> int:
    """Prepare one server and print a line for what was done, or why it was not; return the exit status."""
    try:
        done = asyncio.run(when_available(PREPARATIONS[name]))
    except SettingsError as error:
        print(error, file=sys.stderr, flush=True)
        return 2
    except NotPrepared as error:
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        return 1
    except Unavailable as error:
        why = error.why or "it does not answer"
        print(f"{name}: {server_name(error)} cannot be used: {why}", file=sys.stderr, flush=True)
        return 1
    for line in done:
        print(line, file=sys.stderr if line.startswith("WARNING") else sys.stdout, flush=True)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare what the arguments name; return the exit status.

    It is 0 when all is done, 1 when a server does not answer or refuses, 2 for settings that cannot be used. What can be
    done is done.
    """
    parser = argparse.ArgumentParser(
        prog="python -m deploy.prepare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="*", choices=[*PREPARATIONS, []], default=[], metavar="|".join(PREPARATIONS))
    chosen = parser.parse_args(arguments).what
    return max(prepared(name) for name in PREPARATIONS if name in chosen or not chosen)


if __name__ == "__main__":
    # The line about a failure says what the client has said, too.
    set_up_logs("prepare", without=["broker_client_error"])
    sys.exit(main())
