"""The facts of a header: pydicom is the oracle over the corpus, and every way of writing a value has its case."""

import io
import struct
import warnings
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.multival import MultiValue

from operators.dicom.facts import MAX_TEXT_LENGTH
from operators.dicom.instance import Examination, examine
from operators.dicom.transfer_syntaxes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from operators.errors import Rejected
from schemas.events import Facts
from tests.support.data.small_instances import (
    ELEMENTS,
    UIDS,
    corpus_files,
    data_set,
    examine_file,
    read_fact,
    short_element,
)
from tests.support.worlds.reading import CT

# Facts that differ from pydicom's text, each one reviewed.
REVIEWED = {
    # pydicom drops an empty last component group of a name.
    ("charset/pydicom/chrX1.dcm", "patient_name"),
    ("charset/pydicom/chrX2.dcm", "patient_name"),
    # UN, as 64 KiB fit no short VR: pydicom gives bytes, here the beginning of the text.
    ("odd/fuzz/cat01_tag_overflow__TC0023_patientid_over_64KB.dcm", "patient_id"),
    ("odd/fuzz/cat01_tag_overflow__TC0107_patientsex_over_64KB.dcm", "patient_sex"),
    # A NUL within the value, which no store accepts.
    ("odd/fuzz/cat02_vr_mismatch__TC0257_implicit_patname_binary.dcm", "patient_name"),
    ("odd/fuzz/cat08_string_encoding__TC0419_null_b_FU_x00ZZ_.dcm", "patient_id"),
}
# No Sequence Delimitation Item: pydicom drops the whole data set.
NOT_READ_BY_PYDICOM = "sop/pydicom-data/emri_small_jpeg_2k_lossless_too_short.dcm"


def text_of(value: Any) -> str | None:
    """Return pydicom's value in the form of a fact: values joined, padding trimmed."""
    if isinstance(value, MultiValue | list):
        return "\\".join(str(part).strip(" ") for part in value)
    return "" if value is None else str(value).strip(" ")


def test_uids_and_facts_are_those_of_pydicom(corpus: Path) -> None:
    differences = set()
    for name, whole in corpus_files(corpus):
        if name == NOT_READ_BY_PYDICOM:
            continue
        try:
            ours = examine_file(whole)
        except Rejected:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = pydicom.dcmread(io.BytesIO(whole))
            uids = (theirs.StudyInstanceUID, theirs.SeriesInstanceUID, theirs.SOPInstanceUID, theirs.SOPClassUID)
            if uids != (ours.study_uid, ours.series_uid, ours.sop_uid, ours.sop_class):
                differences.add((name, "uids"))
            for fact_name, (tag, _) in ELEMENTS.items():
                mine = getattr(ours.facts, fact_name)
                text = text_of(theirs[tag].value) if tag in theirs else None
                if (mine if mine is None else str(mine)) != text:
                    differences.add((name, fact_name))

    assert differences == REVIEWED


# Fact, bytes, character set: text, warnings.
TEXTS: dict[str, tuple[str, bytes, bytes | None, str, set[str]]] = {
    "plain": ("patient_name", b"A^B ", None, "A^B", set()),
    "empty": ("patient_name", b"", None, "", set()),
    "nothing but padding": ("study_id", b"  \0\0", None, "", set()),
    "two values": ("modality", b" CT \\MR ", None, "CT\\MR", set()),
    "latin 1": ("patient_name", b"Buc^J\xe9r\xf4me", b"ISO_IR 100", "Buc^Jérôme", set()),
    "utf-8": ("patient_name", "王^小東".encode(), b"ISO_IR 192", "王^小東", set()),
    "japanese": (
        "patient_name",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
        b"\\ISO 2022 IR 87",
        "Yamada^Tarou=山田^太郎",
        set(),
    ),
    "korean": (
        "patient_name",
        b"Hong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7",
        b"\\ISO 2022 IR 149",
        "Hong=洪^吉洞",
        set(),
    ),
    "a line ends an extension": ("study_description", b"\x1b-F\xc4\r\nx", b"\\ISO 2022 IR 126", "Δ\r\nx", set()),
    "gb18030": ("patient_name", "王".encode("gb18030"), b"GB18030", "王", set()),
    "not of the declared set": ("patient_name", b"A\xff", b"ISO_IR 192", "A\ufffd", {"undecodable-text"}),
    "of no declared set": ("patient_name", b"J\xe9", None, "Jé", {"undecodable-text"}),
    "an unknown set": ("patient_name", b"AB", b"KLINGON", "AB", {"unknown-character-set"}),
    "a codec of Python": ("patient_name", b"+AGE-", b"utf-7", "+AGE-", {"unknown-character-set"}),
    "a misspelt set": ("patient_name", b"\xe9", b"ISO-IR 100", "é", {"unknown-character-set"}),
    "a set that stands alone": (
        "patient_name",
        "é".encode(),
        b"ISO_IR 192\\ISO 2022 IR 100",
        "é",
        {"unknown-character-set"},
    ),
    "an unknown escape": ("patient_name", b"\x1b%1A", b"ISO_IR 100", "\x1b%1A", {"undecodable-text"}),
    "accents in a code": ("modality", b"C\xe9", b"ISO_IR 100", "Cé", {"undecodable-text"}),
    "NUL within": ("patient_id", b"1\x002", None, "12", set()),
    "longer than bounded": ("patient_id", b"x" * 2_000, None, "x" * MAX_TEXT_LENGTH, {"long-value"}),
}


@pytest.mark.parametrize("claim", TEXTS)
def test_texts_are_decoded_trimmed_and_bounded(claim: str) -> None:
    name, value, character_set, text, warned = TEXTS[claim]

    assert read_fact(name, value, character_set=character_set) == (text, warned)


# Fact, VR, bytes: value, warnings.
NUMBERS: dict[str, tuple[str, str, bytes, Any, set[str]]] = {
    "a number": ("rows", "US", b"\0\2", 512, set()),
    "a larger VR": ("rows", "UL", b"\0\2\0\0", 512, {"unexpected-vr"}),
    "a text": ("rows", "IS", b"512 ", 512, {"unexpected-vr"}),
    "two numbers": ("rows", "US", b"\1\0\2\0", 1, {"number-length"}),
    "no number": ("rows", "US", b"", None, set()),
    "half a number": ("rows", "US", b"\1", None, {"unreadable-number", "number-length"}),
    "more than any row count": ("rows", "UL", b"\0\0\0\x80", None, {"unexpected-vr", "unreadable-number"}),
    "a number for a text": ("instance_number", "US", b"\7\0", "7", {"unexpected-vr"}),
    "a text of another VR": ("instance_number", "LO", b"7 ", "7", {"unexpected-vr"}),
}


@pytest.mark.parametrize("claim", NUMBERS)
def test_numbers_are_read_by_their_vr(claim: str) -> None:
    name, vr, value, number, warned = NUMBERS[claim]

    assert read_fact(name, value, vr=vr) == (number, warned)


def test_numbers_are_read_in_big_endian_and_without_vr() -> None:
    big = b"".join(short_element(tag, "UI", uid, ">") for tag, uid in UIDS.items()) + short_element(
        0x00280010, "US", b"\2\0", ">"
    )
    values = {**UIDS, 0x00280010: b"\0\2"}
    plain = b"".join(struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(v)) + v for tag, v in values.items())

    assert examine(big, EXPLICIT_VR_BIG_ENDIAN, 0).facts.rows == 512
    assert examine(plain, IMPLICIT_VR_LITTLE_ENDIAN, 0).facts.rows == 512


def test_an_absent_fact_is_none() -> None:
    read = examine(data_set(), EXPLICIT_VR_LITTLE_ENDIAN, 0)

    assert not {value for value in asdict(read.facts).values() if value is not None}


def item(step: str | None, procedure: str | None = None, **more: Any) -> Dataset:
    """Return an item of Request Attributes Sequence; an id that is None is left out."""
    made = Dataset()
    for keyword, value in {"ScheduledProcedureStepID": step, "RequestedProcedureID": procedure, **more}.items():
        if value is not None:
            setattr(made, keyword, value)
    return made


def code() -> Dataset:
    made = Dataset()
    made.CodeValue, made.ScheduledProcedureStepID = "C1", "not this one"
    return made


def written(items: list[Dataset], transfer_syntax: str, *, is_open: bool = False) -> bytes:
    """Return the data set of an image with these items in its Request Attributes Sequence."""
    whole = Dataset()
    whole.SpecificCharacterSet = "ISO_IR 100"
    whole.SOPClassUID, whole.SOPInstanceUID, whole.StudyInstanceUID, whole.SeriesInstanceUID = CT, "1.1", "1.2", "1.3"
    whole.RequestAttributesSequence = items
    whole["RequestAttributesSequence"].is_undefined_length = is_open
    for written in items:
        written.is_undefined_length_sequence_item = is_open
        for element in written:
            if element.VR == "SQ":
                element.is_undefined_length = is_open
    is_little = transfer_syntax != EXPLICIT_VR_BIG_ENDIAN
    buffer = BytesIO()
    dcmwrite(buffer, whole, implicit_vr=transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN, little_endian=is_little)
    return buffer.getvalue()


def examined(items: list[Dataset], transfer_syntax: str, *, is_open: bool = False) -> Examination:
    """Return the examination of an image with these items in its Request Attributes Sequence."""
    return examine(written(items, transfer_syntax, is_open=is_open), transfer_syntax, 0)


def facts(items: list[Dataset], transfer_syntax: str = EXPLICIT_VR_LITTLE_ENDIAN, *, is_open: bool = False) -> Facts:
    """Return the facts that are read from an image with these items in its Request Attributes Sequence."""
    return examined(items, transfer_syntax, is_open=is_open).facts


SYNTAXES = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN)


@pytest.mark.parametrize("transfer_syntax", SYNTAXES)
@pytest.mark.parametrize("is_open", [False, True])
def test_request_ids_are_read_from_every_item_in_every_encoding(transfer_syntax: str, is_open: bool) -> None:  # noqa: FBT001
    items = [item("S1", "R1", ScheduledProtocolCodeSequence=[code()]), item(None, "R2"), item("Größe", None)]
    found = facts(items, transfer_syntax, is_open=is_open)

    assert found.scheduled_procedure_step_id == "S1\\\\Größe"
    assert found.requested_procedure_id == "R1\\R2\\"


@pytest.mark.parametrize("items", [[], [item(None)], [item("", "")]])
def test_a_sequence_without_values_gives_no_fact(items: list[Dataset]) -> None:
    found = facts(items)

    assert (found.scheduled_procedure_step_id, found.requested_procedure_id) == (None, None)


@pytest.mark.parametrize("name", ["patient_name", "study_description"])
def test_bytes_that_were_read_before_are_read_anew_in_another_character_set(name: str) -> None:
    sets = (b"ISO_IR 100", b"ISO_IR 144", b"ISO_IR 100")
    read = [read_fact(name, b"\xc4\xd6", character_set=terms) for terms in sets]

    assert read == [("ÄÖ", set()), ("Фж", set()), ("ÄÖ", set())]


def test_items_that_were_read_before_are_read_anew_in_another_character_set() -> None:
    latin = written([item("ÄÖ")], EXPLICIT_VR_LITTLE_ENDIAN)
    sets = (b"ISO_IR 100", b"ISO_IR 144", b"ISO_IR 100")
    read = [examine(latin.replace(b"ISO_IR 100", terms), EXPLICIT_VR_LITTLE_ENDIAN, 0).facts for terms in sets]

    assert [found.scheduled_procedure_step_id for found in read] == ["ÄÖ", "Фж", "ÄÖ"]


def test_a_short_sequence_that_was_read_before_is_warned_of_again() -> None:
    many = [item("S")] * 16 + [item(None, "R")]

    assert [set(examined(many, EXPLICIT_VR_LITTLE_ENDIAN).warnings) for _ in range(2)] == [{"long-value"}] * 2


def test_only_sixteen_items_are_read_and_a_long_sequence_is_not() -> None:
    many, long = ([item(str(n)) for n in range(20)], [item("S", "R" * 16)] * 4000)

    assert (facts(many).scheduled_procedure_step_id or "").count("\\") == 15
    assert facts(long).requested_procedure_id is None


@pytest.mark.parametrize("transfer_syntax", SYNTAXES)
@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize(
    ("items", "warned"),
    [
        ([item("S", "R")] * 16, set()),
        ([item("S")] * 16 + [item(None)], set()),
        ([item("S")] * 16 + [item(None, "R")], {"long-value"}),
        ([item("S", "R" * 16)] * 4000, {"long-value"}),
    ],
)
def test_items_that_queries_leave_out_are_warned_of(
    transfer_syntax: str,
    is_open: bool,  # noqa: FBT001
    items: list[Dataset],
    warned: set[str],
) -> None:
    assert set(examined(items, transfer_syntax, is_open=is_open).warnings) == warned


def test_request_ids_are_those_that_pydicom_finds(corpus: Path) -> None:
    seen = 0
    for path in sorted(corpus.rglob("*")):
        whole = path.read_bytes() if path.is_file() else b""
        try:
            found = examine_file(whole).facts
        except Rejected:
            continue
        wanted = by_pydicom(whole)
        seen += any(wanted)

        assert (found.scheduled_procedure_step_id, found.requested_procedure_id) == wanted, path.name

    assert seen > 3


def by_pydicom(whole: bytes) -> tuple[str | None, str | None]:
    """Return the ids of scheduled steps and of requested procedures as pydicom reads them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            items = dcmread(BytesIO(whole), force=True, stop_before_pixels=True).get("RequestAttributesSequence") or []
        except Exception:  # noqa: BLE001 (files that pydicom cannot read)
            items = []
    return joined(items, "ScheduledProcedureStepID"), joined(items, "RequestedProcedureID")


def joined(items: list[Dataset], keyword: str) -> str | None:
    texts = [str(found.get(keyword) or "") for found in items]
    return "\\".join(texts) if any(texts) else None
