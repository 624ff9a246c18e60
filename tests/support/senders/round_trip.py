"""The round trip of files: an archive must return the bytes of each, from where the file's outcome says they are."""

from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from tests.audit.collect.api import AS_STORED, only_part
from tests.audit.ledger import Line
from tests.audit.part10 import read_meta
from tests.support.data.outcomes import table
from tests.support.senders.files import data_hash, line_of
from tests.support.senders.raw import REFUSED, UNSENDABLE

READERS = 4


class Readable(Protocol):
    """An archive from which files are read back; each method returns None for what the archive does not have."""

    def shown(self, line: Line) -> bytes | None:
        """Return an instance as stored, retrieved over WADO-RS."""

    def conflicting(self, line: Line) -> bytes | None:
        """Return a content of an instance that lost a conflict, so that another content is shown."""

    def quarantined(self, line: Line) -> bytes | None:
        """Return a quarantined object."""


@dataclass(frozen=True)
class Sent:
    """A file that was sent and answered: its ledger line, and whether it should be stored or quarantined."""

    name: str
    path: Path
    line: Line
    is_stored: bool
    # Whether all bytes of the file come back, or those of its data set alone: a repeat keeps the first one's file meta.
    is_whole: bool


def corpus_sent(files: Mapping[str, Path], answers: Mapping[str, str], *, is_whole: bool) -> list[Sent]:
    """Return every file of the corpus that an archive received and answered.

    Where two files have one content, either may have come first, and so either's file meta may be kept.
    """
    received = [name for name in files if answers[name] not in (REFUSED, UNSENDABLE)]
    lines = {name: line_of(files[name], "local") for name in received}
    times = Counter(line.data_hash for line in lines.values())
    return [
        Sent(name, files[name], line, table().of(name).becomes == "stored", is_whole and times[line.data_hash] == 1)
        for name, line in lines.items()
    ]


def differences(sent: Iterable[Sent], archive: Readable) -> dict[str, str]:
    """Return the files that do not come back as they were sent, and what is wrong with each."""
    with ThreadPoolExecutor(READERS) as pool:
        every = list(sent)
        found = zip(every, pool.map(lambda one: difference(one, archive), every), strict=True)
        return {one.name: wrong for one, wrong in found if wrong}


def difference(sent: Sent, archive: Readable) -> str:
    """Return what is wrong with one file that comes back; empty when nothing is wrong."""
    returned = stored_bytes(sent, archive) if sent.is_stored else archive.quarantined(sent.line)
    if returned is None:
        return "is not there"
    original = sent.path.read_bytes()
    if sent.is_whole:
        return "" if returned == original else "other bytes"
    return "" if data_set(returned) == data_set(original) else "another data set"


def stored_bytes(sent: Sent, archive: Readable) -> bytes | None:
    """Return the shown bytes of the instance if they have this content, else the bytes that lost a conflict."""
    shown = archive.shown(sent.line)
    if shown is not None and hash_of(shown) == sent.line.data_hash:
        return shown
    return archive.conflicting(sent.line)


def data_set(whole: bytes) -> bytes:
    """Return a file's bytes behind its file meta; all bytes where there is no file meta."""
    try:
        return whole[read_meta(whole).length :]
    except ValueError:
        return whole


def hash_of(whole: bytes) -> str:
    """Return the identity of a Part 10 file's content."""
    meta = read_meta(whole)
    return data_hash(meta.transfer_syntax, memoryview(whole)[meta.length :])


def retrieved(client: httpx.Client, line: Line) -> bytes | None:
    """Retrieve an instance as stored (PS3.18 10.4); None when the archive does not have it."""
    url = f"/dicomweb/studies/{line.study_uid}/series/{line.series_uid}/instances/{line.sop_uid}"
    answer = client.get(url, headers=AS_STORED)
    return bytes(only_part(answer)) if answer.status_code == httpx.codes.OK else None
