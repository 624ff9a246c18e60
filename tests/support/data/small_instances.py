"""Instances of a few elements, written by hand, and the files of the corpus."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from operators.dicom.attributes import FACTS, TAGS
from operators.dicom.instance import Examination, examine
from operators.dicom.part10 import part10_prefix, split_part10
from operators.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN

# Every instance has these: without them it is rejected.
UIDS = {
    TAGS["SOPClassUID"]: b"1.2.840.10008.5.1.4.1.1.2",
    TAGS["SOPInstanceUID"]: b"1.2.3.4",
    TAGS["StudyInstanceUID"]: b"1.2",
    TAGS["SeriesInstanceUID"]: b"1.2.3",
}
# Tag and VR of each fact at the top level of a data set.
ELEMENTS = {one.name: (one.tag, one.vr) for one in FACTS if not one.sequence}


def corpus_files(corpus: Path) -> Iterator[tuple[str, bytes]]:
    """Return name and bytes of every file of the corpus."""
    for path in sorted(corpus.rglob("*")):
        if path.is_file() and path.suffix != ".md" and "LICENSES" not in path.parts:
            yield str(path.relative_to(corpus)), path.read_bytes()


def examine_file(whole: bytes) -> Examination:
    """Return the examination of a Part 10 file."""
    meta = split_part10(whole)
    return examine(whole[meta.prefix_length :], meta.transfer_syntax, meta.prefix_length)


def short_element(tag: int, vr: str, value: bytes, order: str = "<") -> bytes:
    """Return an explicit element with a 16-bit length, in struct's byte order."""
    return struct.pack(order + "HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def data_set(**facts: tuple[str, bytes]) -> bytes:
    """Return a data set of the four UIDs and these facts, each with its VR and bytes."""
    values = {tag: ("UI", uid) for tag, uid in UIDS.items()} | {ELEMENTS[name][0]: fact for name, fact in facts.items()}
    return b"".join(short_element(tag, *values[tag]) for tag in sorted(values))


def part10_file(study_uid: str, series_uid: str, sop_uid: str, **facts: tuple[str, bytes]) -> bytes:
    """Return a Part 10 file of these UIDs and facts, each with its VR and bytes, in explicit VR little endian."""
    names = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid, "SOPInstanceUID": sop_uid}
    uids = UIDS | {TAGS[name]: uid.encode() for name, uid in names.items()}
    values = {tag: ("UI", uid + b"\0" * (len(uid) % 2)) for tag, uid in uids.items()}
    values |= {ELEMENTS[name][0]: fact for name, fact in facts.items()}
    prefix = part10_prefix(UIDS[TAGS["SOPClassUID"]].decode(), sop_uid, EXPLICIT_VR_LITTLE_ENDIAN)
    return prefix + b"".join(short_element(tag, *values[tag]) for tag in sorted(values))


def data_set_with_uid(tag: int, value: bytes) -> bytes:
    """Return a data set of the four UIDs, one of them with this value."""
    return b"".join(short_element(each, "UI", value if each == tag else uid) for each, uid in sorted(UIDS.items()))


def read_fact(
    name: str, value: bytes, *, vr: str | None = None, character_set: bytes | None = None
) -> tuple[Any, set[str]]:
    """Return what these bytes are read as, and the warnings."""
    facts = {name: (vr or ELEMENTS[name][1], value)}
    if character_set is not None:
        facts["specific_character_set"] = ("CS", character_set)
    read = examine(data_set(**facts), EXPLICIT_VR_LITTLE_ENDIAN, 0)
    return getattr(read.facts, name), set(read.warnings) - {"odd-length"}
