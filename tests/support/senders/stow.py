"""A STOW-RS client (PS3.18 10.5) that sends files as they are, retries until each is stored, and keeps a ledger.

    python -m tests.support.senders.stow --url http://127.0.0.1:8060 --ledger sent.jsonl FOLDER...

Exit status 0 when everything was stored.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.audit.ledger import Ledger, Line
from tests.audit.part10 import read_meta
from tests.support.senders.files import dicom_files, line_of
from tests.support.senders.sender import meaning

BOUNDARY = "a-boundary-that-no-file-has-ZqJ4"
CONTENT_TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
HEAD = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
TAIL = f"--{BOUNDARY}--\r\n".encode()
LOST, LATER = "lost", "A700"
AGAIN_S = 0.5

# DICOM JSON (PS3.18 F.2), of the Store Instances Response Module (I.1).
REFERENCED, FAILED, OTHER_FAILURES = "00081199", "00081198", "0008119A"
SOP_UID, FAILURE_REASON, WARNING_REASON = "00081155", "00081197", "00081196"


@dataclass(frozen=True)
class Door:
    """The address of an archive's STOW-RS door; `answer_s` for one answer, `patience_s` for trying at all.

    `rest_s` is how long a client rests after each request.
    """

    url: str
    tenant: str = "local"
    study_uid: str = ""
    answer_s: float = 60.0
    patience_s: float = 180.0
    rest_s: float = 0.0

    @property
    def address(self) -> str:
        """Return the URL of store requests."""
        return f"{self.url}/dicomweb/studies" + (f"/{self.study_uid}" if self.study_uid else "")


@dataclass(frozen=True)
class Part:
    """A file to store, its ledger line, and the SOP UIDs by which the response may name it."""

    path: Path
    line: Line
    names: frozenset[str]


def part(path: Path, tenant: str) -> Part:
    """Return a file to store."""
    line = line_of(path, tenant)
    try:
        meta_uid = read_meta(path.read_bytes()).sop_uid
    except ValueError:
        meta_uid = ""
    return Part(path, line, frozenset({line.sop_uid, meta_uid} - {""}))


def stow(paths: Iterable[Path], door: Door, ledger: Ledger, *, requests: int = 4, at_once: int = 25) -> dict[Path, str]:
    """Store files over parallel requests until each has its last answer or patience ends; give it for each.

    The statuses are C-STORE's: 0000 or the WarningReason of what was stored, the FailureReason of what was not.
    """
    parts = [part(path, door.tenant) for path in paths]
    ledger.plan(one.line for one in parts)
    limits = httpx.Limits(max_connections=requests)
    with httpx.Client(timeout=door.answer_s, limits=limits) as client, ThreadPoolExecutor(requests) as pool:
        answered = pool.map(partial(settled, client, door, ledger), batches(parts, at_once))
        return {one.path: status for answers in answered for one, status in answers.items()}


def batches(parts: Iterable[Part], most: int) -> Iterator[list[Part]]:
    """Divide files into requests in which no two files may be named alike by the response."""
    batch, taken = list[Part](), set[str]()
    for one in parts:
        if len(batch) == most or one.names & taken:
            yield batch
            batch, taken = [], set()
        batch.append(one)
        taken |= one.names
    if batch:
        yield batch


def settled(client: httpx.Client, door: Door, ledger: Ledger, batch: Sequence[Part]) -> dict[Part, str]:
    """Post files until each has its last answer or patience ends; return each one's last status."""
    until, last = time.monotonic() + door.patience_s, dict[Part, str]()
    waiting = list(batch)
    while waiting and time.monotonic() < until:
        answers = post(client, door, waiting)
        for one, status in answers.items():
            ledger.answer(one.line, meaning(status), status)
        last |= answers
        waiting = [one for one in waiting if last[one] == LOST or last[one].startswith("A7")]
        time.sleep(AGAIN_S if waiting else door.rest_s)
    return last


def post(client: httpx.Client, door: Door, batch: Sequence[Part]) -> dict[Part, str]:
    """Send one request; return the status of each file."""
    headers = {"Content-Type": CONTENT_TYPE, "Accept": "application/dicom+json"}
    try:
        answer = client.post(door.address, content=body(batch), headers=headers)
    except httpx.TransportError:
        return dict.fromkeys(batch, LOST)
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return dict.fromkeys(batch, LATER)
    if answer.status_code in (httpx.codes.OK, httpx.codes.ACCEPTED, httpx.codes.CONFLICT):
        return dict(zip(batch, statuses_in(batch, answer.json()), strict=True))
    return dict.fromkeys(batch, f"HTTP {answer.status_code}")


def body(batch: Iterable[Part]) -> Iterator[bytes]:
    """Yield the body of a request, a file at a time."""
    for one in batch:
        yield HEAD + one.path.read_bytes() + b"\r\n"
    yield TAIL


def statuses_in(batch: Iterable[Part], answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield the status of each file; failures without an instance belong, in order, to the files that nothing names."""
    named = {uid_of(item): reason(item, WARNING_REASON) for item in items(answer, REFERENCED)}
    named |= {uid_of(item): reason(item, FAILURE_REASON) for item in items(answer, FAILED)}
    unnamed = iter([reason(item, FAILURE_REASON) for item in items(answer, OTHER_FAILURES)])
    for one in batch:
        found = sorted(named[uid] for uid in one.names if uid in named)
        yield found[0] if found else next(unnamed, "missing")


def items(answer: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    """Return a sequence's items."""
    return list(answer.get(tag, {}).get("Value", ()))


def uid_of(item: Mapping[str, Any]) -> str:
    """Return the SOP Instance UID of an item."""
    return str(item.get(SOP_UID, {}).get("Value", [""])[0])


def reason(item: Mapping[str, Any], tag: str) -> str:
    """Return a reason in hex; 0000 where there is none."""
    return f"{item.get(tag, {}).get('Value', [0])[0]:04X}"


def main() -> None:
    """Send from the command line."""
    wanted = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wanted.add_argument("paths", type=Path, nargs="+", help="DICOM files, or folders of them")
    wanted.add_argument("--ledger", type=Path, required=True, help="file that lines are added to")
    wanted.add_argument("--url", default="http://127.0.0.1:8060", help="the archive's origin")
    wanted.add_argument("--requests", type=int, default=4, help="in parallel (default 4)")
    wanted.add_argument("--at-once", type=int, default=25, help="files in a request at most (default 25)")
    given = wanted.parse_args()
    with Ledger(given.ledger) as ledger:
        answers = stow(
            dicom_files(given.paths), Door(given.url), ledger, requests=given.requests, at_once=given.at_once
        )
    tally = Counter(answers.values())
    sys.stdout.write(f"{dict(tally)}\n")
    sys.exit(0 if all(meaning(status) == "acked" for status in tally) else 1)


if __name__ == "__main__":
    main()
