"""The files that senders send: what a ledger records of each, and what a C-STORE names of it."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID
from pynetdicom.dsutils import split_dataset

from tests.audit.ledger import Line
from tests.audit.part10 import read_meta

TOKEN = re.compile(r"QZCANARY[A-Z]{8}")
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
# What pydicom raises on a data set that it cannot read.
UNREADABLE = (InvalidDicomError, AttributeError, RecursionError, ValueError, OSError)


@dataclass(frozen=True)
class Sendable:
    """A file that can be sent, its ledger line, and the SOP class of the presentation context that it needs."""

    path: Path
    line: Line
    sop_class: str


def sendable(path: Path, tenant: str) -> Sendable:
    """Return a file to send, with its ledger line and the hash of the data set that will be sent."""
    meta, offset = split_dataset(path)
    syntax = str(meta.TransferSyntaxUID)
    data = path.read_bytes()
    study_uid, series_uid, _ = uids(path)
    line = Line(
        state="planned",
        tenant=tenant,
        study_uid=study_uid,
        series_uid=series_uid,
        sop_uid=str(meta.MediaStorageSOPInstanceUID),
        data_hash=data_hash(syntax, memoryview(data)[offset:]),
        transfer_syntax=syntax,
        canary=token_in(data),
    )
    return Sendable(path, line, str(UID(meta.MediaStorageSOPClassUID)))


@cache
def line_of(path: Path, tenant: str) -> Line:
    """Return the ledger line of any file: UIDs are empty where they are absent; a file without file meta is all data."""
    data = path.read_bytes()
    try:
        meta = read_meta(data)
    except ValueError:
        return Line("planned", tenant, "", "", "", data_hash("", data), canary=token_in(data))
    digest = data_hash(meta.transfer_syntax, memoryview(data)[meta.length :])
    return Line("planned", tenant, *uids(path), digest, meta.transfer_syntax, token_in(data))


def uids(path: Path) -> tuple[str, str, str]:
    """Return a data set's Study, Series and SOP Instance UID; empty where there is none."""
    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=list(UIDS))
    except UNREADABLE:
        return "", "", ""
    study_uid, series_uid, sop_uid = (str(header.get(name) or "") for name in UIDS)
    return study_uid, series_uid, sop_uid


def token_in(data: bytes) -> str:
    """Return the token that a generated file carries; empty for any other."""
    found = TOKEN.search(data[: 64 * 1024].decode("ascii", "replace"))
    return found.group() if found else ""


def data_hash(transfer_syntax: str, data_set: bytes | memoryview) -> str:
    """Return the identity of content: sha256 of transfer syntax UID, a zero byte, the data set bytes."""
    digest = hashlib.sha256(transfer_syntax.encode() + b"\0")
    digest.update(data_set)
    return digest.hexdigest()


def dicom_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield these files, and the files in these folders in order of their paths."""
    for path in paths:
        if path.is_dir():
            yield from sorted(one for one in path.rglob("*") if one.is_file())
        else:
            yield path
