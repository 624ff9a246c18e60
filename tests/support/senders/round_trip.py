"""Whether an archive gives back what it was sent: each file's bytes, from where its outcome says that they are."""

from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from tests.audit.collect.api import only_part
from tests.audit.ledger import Line
from tests.audit.part10 import read_meta
from tests.support.data.outcomes import table
from tests.support.senders.files import data_hash, line_of
from tests.support.senders.raw import REFUSED, UNSENDABLE

READERS = 4
AS_STORED = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}


class Giving(Protocol):
    """An archive from which bytes are asked back; each gives None for what it does not have."""

    def shown(self, line: Line) -> bytes | None:
        """Retrieve an instance as stored, over WADO-RS."""

    def beside(self, line: Line) -> bytes | None:
        """Return one content of an instance that is not the one shown."""

    def aside(self, line: Line) -> bytes | None:
        """Return what was quarantined."""


@dataclass(frozen=True)
class Sent:
    """A file that was sent and answered: what the ledger says of it, and where it should be."""

    name: str
    path: Path
    line: Line
    is_stored: bool
    # All its bytes, or those of its data set: another prefix lies before what was there already.
    is_whole: bool


def corpus_sent(files: Mapping[str, Path], answers: Mapping[str, str], *, is_whole: bool) -> list[Sent]:
    """Return every file of the corpus that an archive had and answered, by its outcome in the table.

    Where two files have one content it is not said which came first, and so whose file meta is kept.
    """
    had = [name for name in files if answers[name] not in (REFUSED, UNSENDABLE)]
    lines = {name: line_of(files[name], "local") for name in had}
    times = Counter(line.data_hash for line in lines.values())
    return [
        Sent(name, files[name], line, table().of(name).becomes == "stored", is_whole and times[line.data_hash] == 1)
        for name, line in lines.items()
    ]


def lacking(sent: Iterable[Sent], archive: Giving) -> dict[str, str]:
    """Return the files that do not come back as they went, and what is wrong with each."""
    with ThreadPoolExecutor(READERS) as pool:
        every = list(sent)
        found = zip(every, pool.map(lambda one: wrong(one, archive), every), strict=True)
        return {one.name: said for one, said in found if said}


def wrong(sent: Sent, archive: Giving) -> str:
    """Return what is wrong with what comes back of one file; empty when nothing is."""
    back = archive.aside(sent.line) if not sent.is_stored else held(sent, archive)
    if back is None:
        return "is not there"
    went = sent.path.read_bytes()
    if sent.is_whole:
        return "" if back == went else "other bytes"
    return "" if data_set(back) == data_set(went) else "another data set"


def held(sent: Sent, archive: Giving) -> bytes | None:
    """Return what is shown of the instance when it is this content, else this content from beside it."""
    shown = archive.shown(sent.line)
    if shown is not None and hash_of(shown) == sent.line.data_hash:
        return shown
    return archive.beside(sent.line)


def data_set(whole: bytes) -> bytes:
    """Return a file's bytes behind its file meta; all of them where there is none."""
    try:
        return whole[read_meta(whole).length :]
    except ValueError:
        return whole


def hash_of(whole: bytes) -> str:
    """Return the identity of a Part 10 file's content."""
    meta = read_meta(whole)
    return data_hash(meta.transfer_syntax, memoryview(whole)[meta.length :])


def retrieved(client: httpx.Client, line: Line) -> bytes | None:
    """Retrieve an instance as stored (PS3.18 10.4); None when the archive has none."""
    url = f"/dicomweb/studies/{line.study_uid}/series/{line.series_uid}/instances/{line.sop_uid}"
    answer = client.get(url, headers=AS_STORED)
    return bytes(only_part(answer)) if answer.status_code == httpx.codes.OK else None
