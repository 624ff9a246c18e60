"""What the doors refused and kept aside: `python -m deploy.commands.quarantine list|show|release|discard`.

HASH is a content's hash as `list` gives it, or enough of its beginning.
`show --save` writes its bytes into a file, as they came; `release` sends it in
again through the STOW door, and `discard` removes it for good.
"""

import argparse
import asyncio
import http.client
import json
import mmap
import re
import secrets
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deploy.commands import shared
from deploy.errors import Failed
from deploy.local.report import dicomweb_url, say
from deploy.local.running import RunningStack
from gateway.intake import status
from gateway.intake.lifespan import limits_of
from gateway.intake.status import MISMATCH, REASONS, Status
from operators.catalog.ports import HiddenRows
from operators.catalog.rows import QuarantineRow
from operators.connectors.kafka.log import KafkaEventLog
from operators.connectors.s3.store import S3ObjectStore
from operators.dicom import instance
from operators.dicom.scan import LIMITS, ScanLimits
from operators.errors import Rejected, Unavailable
from operators.store import quarantine
from operators.store.ports import EventLog, ObjectStore, StoredObject
from schemas.events import InstanceQuarantined
from schemas.objects import Bucket
from schemas.topics import INSTANCE_QUARANTINED

HASH = 16
LEAST_HASH = re.compile("[0-9a-f]{4,64}")
HEADINGS = ("HASH", "TENANT", "STATE", "REASON", "BYTES", "FROM", "SINCE", "UNTIL")
STORE_S = 600.0
CHUNK_BYTES = 1 << 20
# How far a decision came when a server stopped answering.
UNTOLD = "it is stored, and stays in quarantine, for {server} does not answer: release it again"
UNREMOVED = "it is stored, and still lies in quarantine, for {server} does not answer: release it again"
GONE = "it is gone, but {server} does not answer, and lists still have it: discard it again"
STORED_SEQUENCE, FAILURES = "00081199", ("00081198", "0008119A")
FAILURE_REASON = "00081197"
# What each code means that a door gives.
STATUSES = {one.code: one for one in vars(status).values() if isinstance(one, Status)}


@dataclass(frozen=True)
class Answer:
    """What the STOW door said."""

    status: int
    body: bytes


# Sends one Part 10 file in at the STOW door: its preamble and file meta, its data set.
Send = Callable[[bytes, memoryview], Answer]


@dataclass(frozen=True)
class Outside:
    """What a decision works with; `tenant` is the one that the STOW door stores for."""

    store: ObjectStore
    events: EventLog
    send: Send
    tenant: str
    folder: Path
    limits: ScanLimits = LIMITS


def list_(options: argparse.Namespace) -> None:
    """List what is in quarantine; with --all also what was let go, or is over its time."""
    held_at = None if options.all else datetime.now(UTC)
    found = shared.aside(shared.here()).quarantined(options.tenant, options.most, held_at=held_at)
    if options.json:
        for row in found:
            say(shared.as_json(row.__dict__))
        return
    say(shared.table(HEADINGS, map(line, found)) if found else "Nothing is in quarantine.")


def line(row: QuarantineRow) -> tuple[Any, ...]:
    """Return a row of the list; no patient data."""
    sender = row.calling_ae or row.origin
    return (row.data_hash[:HASH], row.tenant, row.state, row.reason, row.size_bytes, sender, row.stored_at, row.until)


def show(options: argparse.Namespace) -> None:
    """Show what is known of one content; with --save write its bytes into a file."""
    stack = shared.here()
    row = the_one(shared.aside(stack), options.hash, options.tenant)
    say(shared.as_json(row.__dict__) if options.json else shared.details(row.__dict__))
    if options.save:
        asyncio.run(saved(stack, row, options.save))


async def saved(stack: RunningStack, row: QuarantineRow, path: Path) -> None:
    """Write a content's bytes into a file."""
    async with S3ObjectStore(stack.plan.store) as store:
        with shared.new_file(path) as file:
            await shared.copy(store, Bucket.QUARANTINE, row.object_key, row.data_hash, file)
    print(f"{path}: {row.size_bytes} bytes", file=sys.stderr, flush=True)


def release(options: argparse.Namespace) -> None:
    """Send one content in again; when the door stores it, it leaves the quarantine."""
    stack = shared.here()
    row = the_one(shared.aside(stack), options.hash, options.tenant)
    say(asyncio.run(decided(stack, row, released)))


def discard(options: argparse.Namespace) -> None:
    """Remove one content for good; asks first, unless told --yes."""
    stack = shared.here()
    row = the_one(shared.aside(stack), options.hash, options.tenant)
    if not options.yes:
        say(shared.details(row.__dict__))
        if not agrees("Remove it for good? [y/N] "):
            raise Failed("nothing was removed")
    say(asyncio.run(decided(stack, row, discarded)))


def agrees(question: str) -> bool:
    """Ask; where nobody is there to answer, the answer is no."""
    with suppress(EOFError):
        return input(question).strip().lower() in ("y", "yes")
    return False


def the_one(aside: HiddenRows, beginning: str, tenant: str | None) -> QuarantineRow:
    """Return the one content whose hash begins so; raises Failed when there is none, or more than one."""
    if not LEAST_HASH.fullmatch(beginning):
        raise Failed(f"{beginning!r} is no hash, nor the beginning of one (4 to 64 of 0-9a-f)")
    found = aside.quarantined(tenant, 2, beginning=beginning)
    if not found:
        raise Failed(f"nothing is or was in quarantine under {beginning}")
    if len(found) > 1:
        raise Failed(f"more than one begins with {beginning}: give more of the hash, or --tenant")
    return found[0]


async def decided(
    stack: RunningStack, row: QuarantineRow, decide: Callable[[Outside, QuarantineRow, datetime], Awaitable[str]]
) -> str:
    """Carry a decision out on the stack that runs; gives what to say of it."""
    plan = stack.plan
    async with AsyncExitStack() as opened:
        outside = Outside(
            await opened.enter_async_context(S3ObjectStore(plan.store)),
            await opened.enter_async_context(KafkaEventLog(plan.broker)),
            lambda prefix, data_set: stow(f"{dicomweb_url(plan)}/studies", prefix, data_set),
            plan.api.tenant,
            stack.folder.root / "tmp",
            limits_of(plan.intake),
        )
        return await decide(outside, row, datetime.now(UTC))


async def released(outside: Outside, row: QuarantineRow, now: datetime) -> str:
    """Send what is held in again, and let it go when it is stored; raises Failed, and changes nothing, when it is not.

    Its object is the last to go: whatever fails on the way, it can be released again.
    """
    before = await kept(outside, row)
    if row.tenant != outside.tenant:
        raise Failed(f"the STOW door stores for tenant {outside.tenant}, this is tenant {row.tenant}'s")
    with tempfile.TemporaryFile(dir=outside.folder) as file:
        stored = await shared.copy(outside.store, Bucket.QUARANTINE, row.object_key, row.data_hash, file)
        file.flush()
        if not stored.size_bytes:
            raise Failed("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole, memoryview(whole) as view:
            check_stored(await asyncio.to_thread(sent, outside, stored, view))
    event = quarantine.let_go(before, "released", now)
    await well(outside.events.publish(INSTANCE_QUARANTINED, event), UNTOLD)
    await well(outside.store.delete(Bucket.QUARANTINE, row.object_key), UNREMOVED)
    return f"Released: {row.data_hash} is stored."


def sent(outside: Outside, stored: StoredObject, whole: memoryview) -> Answer:
    """Send an object in as a Part 10 file of its own data set; raises Failed when no door could store it."""
    envelope = stored.envelope
    prefix_length, transfer_syntax = envelope.prefix_length, envelope.transfer_syntax
    try:
        if not transfer_syntax:
            prefix_length, transfer_syntax, *_ = instance.split_part10(whole)
        with whole[prefix_length:] as data_set:
            examined = instance.examine(data_set, transfer_syntax, prefix_length, outside.limits)
            prefix = bytes(whole[:prefix_length])
            if not prefix or REASONS.get(envelope.reason) is MISMATCH:
                # The data set says what it is; the sender said something else.
                prefix = instance.prefix(examined.sop_class, examined.sop_uid, transfer_syntax)
            return outside.send(prefix, data_set)
    except Rejected as error:
        raise Failed(f"no door would take it: {error.reason}; nothing was changed") from None


def check_stored(answer: Answer) -> None:
    """Return when the door stored what was sent; raises Failed with its reason when it did not."""
    try:
        said = json.loads(answer.body or b"{}")
        if answer.status in (http.client.OK, http.client.ACCEPTED) and said.get(STORED_SEQUENCE, {}).get("Value"):
            return
        reasons = ", ".join(why(item) for name in FAILURES for item in said.get(name, {}).get("Value", []))
    except (ValueError, AttributeError, LookupError, TypeError):
        said, reasons = {}, ""
    advice = said.get("reason", "no reason given") if isinstance(said, dict) else ""
    raise Failed(f"the STOW door refused it with {answer.status}: {reasons or advice}; nothing was changed")


def why(item: dict[str, Any]) -> str:
    """Return a failure in words."""
    code = item[FAILURE_REASON]["Value"][0]
    known = STATUSES.get(code)
    return f"{code:04X}" + (f" ({known.comment or known.outcome})" if known else "")


async def discarded(outside: Outside, row: QuarantineRow, now: datetime) -> str:
    """Remove what is held, then tell of it; that its object is gone already is no hindrance."""
    before = await kept(outside, row)
    await outside.events.check()
    await outside.store.delete(Bucket.QUARANTINE, row.object_key)
    event = quarantine.let_go(before, "discarded", now)
    await well(outside.events.publish(INSTANCE_QUARANTINED, event), GONE)
    return f"Discarded: {row.data_hash} is gone."


async def kept(outside: Outside, row: QuarantineRow) -> InstanceQuarantined:
    """Return the event of what lies in the store now, which may be later than the row, or of the row.

    Raises Failed when it was let go and its object is gone.
    """
    stored = await outside.store.head(Bucket.QUARANTINE, row.object_key)
    if stored is not None:
        return quarantine.held(stored, row.until - row.stored_at)
    if row.state != "held":
        raise Failed(f"{row.data_hash} was {row.state} already")
    return InstanceQuarantined(**{**row.__dict__, "event_id": str(row.event_id)})


async def well(step: Awaitable[object], otherwise: str) -> None:
    """Take the last steps of a decision; raises Failed, saying what was done before, when store or broker fail."""
    try:
        await step
    except Unavailable as error:
        raise Failed(otherwise.format(server=shared.server(error))) from error


def stow(address: str, prefix: bytes, data_set: memoryview) -> Answer:
    """Send one file to a STOW-RS service (PS3.18 10.5); raises Failed when it does not answer."""
    place, boundary = urlsplit(address), secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + prefix
    tail = f"\r\n--{boundary}--\r\n".encode()
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Content-Length": str(len(head) + len(data_set) + len(tail)),
        "Accept": "application/dicom+json",
    }
    connection = http.client.HTTPConnection(place.netloc, timeout=STORE_S)
    try:
        # A door that refuses need not read on: its answer is there all the same.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", place.path, body=pieces(head, data_set, tail), headers=headers)
        response = connection.getresponse()
        return Answer(response.status, response.read())
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"the STOW door at {address} does not answer: {error}; nothing was changed") from error
    finally:
        connection.close()


def pieces(head: bytes, data_set: memoryview, tail: bytes) -> Iterator[bytes]:
    """Return a request's body, a little at a time."""
    yield head
    for offset in range(0, len(data_set), CHUNK_BYTES):
        yield bytes(data_set[offset : offset + CHUNK_BYTES])
    yield tail


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "list": list_,
    "show": show,
    "release": release,
    "discard": discard,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 all well, 1 a problem, said in a line."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.commands.quarantine",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, do in COMMANDS.items():
        commands.add_parser(name, help=do.__doc__, description=do.__doc__)
    shared.add_choices(commands.choices["list"])
    commands.choices["list"].add_argument(
        "--all", action="store_true", help="also what was let go, or is over its time"
    )
    for name in ("show", "release", "discard"):
        commands.choices[name].add_argument("hash", metavar="HASH")
        shared.add_tenant(commands.choices[name])
    commands.choices["show"].add_argument("--json", action="store_true", help="as a line of JSON")
    commands.choices["show"].add_argument("--save", type=Path, metavar="FILE", help="write its bytes into a new file")
    commands.choices["discard"].add_argument("--yes", action="store_true", help="do not ask")
    options = parser.parse_args(arguments)
    return shared.run(lambda: COMMANDS[options.command](options))


if __name__ == "__main__":
    sys.exit(main())
