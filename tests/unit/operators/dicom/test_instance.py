"""An instance's word: pydicom is the oracle for UIDs and facts over the corpus, and for our own prefix."""

import hashlib
import io
import mmap
import struct
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.multival import MultiValue

from operators.dicom.instance import (
    FACTS,
    MAX_INLINE_HEADER_BYTES,
    MAX_TEXT_LENGTH,
    REQUESTED,
    Examined,
    data_hasher,
    examine,
    from_object,
    inline_header,
    instance_stored,
    prefix,
    prefix_hash,
    rebase,
    split_part10,
)
from operators.dicom.scan import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from operators.errors import Rejected
from schemas.codec import decode, encode
from schemas.events import Facts, event_id
from schemas.objects import Envelope, Identity

CT = "1.2.840.10008.5.1.4.1.1.2"
STORED_AT = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)

# Every file that is no instance, and why.
REFUSED = {
    "charset/pydicom/chrSQEncoding.dcm": "no-usable-uid",
    "charset/pydicom/chrSQEncoding1.dcm": "no-usable-uid",
    "odd/fuzz/cat01_tag_overflow__TC0131_sopinstanceuid_over_2x.dcm": "no-usable-uid",
    "odd/fuzz/cat01_tag_overflow__TC0137_sopinstanceuid_empty.dcm": "no-usable-uid",
    "odd/fuzz/cat01_tag_overflow__TC0143_studyinstanceuid_over_1.dcm": "no-usable-uid",
    "odd/fuzz/cat01_tag_overflow__TC0149_studyinstanceuid_over_64KB.dcm": "no-usable-uid",
    "odd/fuzz/cat01_tag_overflow__TC0161_seriesinstanceuid_over_10x.dcm": "no-usable-uid",
    "odd/fuzz/cat01_tag_overflow__TC0167_seriesinstanceuid_len1.dcm": "no-usable-uid",
    "odd/fuzz/cat09_logic_bombs__TC0461_uid_uid_leading_dot.dcm": "no-usable-uid",
    "odd/fuzz/cat09_logic_bombs__TC0467_uid_uid_empty.dcm": "no-usable-uid",
    # Hashes in hex for UIDs.
    "odd/pydicom-data/bad_sequence.dcm": "no-usable-uid",
    "odd/pydicom/UN_sequence.dcm": "no-usable-uid",
    "odd/pydicom/empty_charset_LEI.dcm": "no-usable-uid",
    "odd/pydicom/nested_priv_SQ.dcm": "no-usable-uid",
    "odd/pydicom/no_meta_group_length.dcm": "no-usable-uid",
    "odd/pydicom/priv_SQ.dcm": "no-usable-uid",
    # Objects outside any study: a palette, a hanging protocol, file-sets.
    "sop/pydicom/hotiron.dcm": "no-usable-uid",
    "sop/weasis-dicom-tools/NeurosurgeryPlan.dcm": "no-usable-uid",
    "studies/fileset/DICOMDIR": "no-usable-uid",
    "studies/fileset/DICOMDIR-bigEnd": "no-usable-uid",
    "studies/fileset/DICOMDIR-empty.dcm": "no-usable-uid",
    "studies/fileset/DICOMDIR-implicit": "no-usable-uid",
    "studies/fileset/DICOMDIR-nooffset": "no-usable-uid",
    "studies/fileset/DICOMDIR-nopatient": "no-usable-uid",
    "studies/fileset/DICOMDIR-reordered": "no-usable-uid",
    "studies/fileset/TINY_ALPHA/DICOMDIR": "no-usable-uid",
    "synthetic/uid_traversal.dcm": "no-usable-uid",
    "ts/pydicom-data/HTJ2KLossless_08_RGB.dcm": "no-usable-uid",
    "ts/pydicom-data/HTJ2K_08_RGB.dcm": "no-usable-uid",
    "ts/pydicom-data/JLSL_08_07_0_1F.dcm": "no-usable-uid",
    "ts/pydicom-data/JLSL_16_15_1_1F.dcm": "no-usable-uid",
    "ts/pydicom/JPEGLSNearLossless_08.dcm": "no-usable-uid",
    "ts/pydicom/JPEGLSNearLossless_16.dcm": "no-usable-uid",
    "ts/pydicom/SC_rgb_jls_lossy_line.dcm": "no-usable-uid",
    "ts/pydicom/SC_rgb_jls_lossy_sample.dcm": "no-usable-uid",
    "odd/fuzz/cat02_vr_mismatch__TC0233_rows_US_as_UL.dcm": "no-transfer-syntax",
    "odd/fuzz/cat05_transfer_syntax__TC0347_deflate_truncated.dcm": "no-transfer-syntax",
    "odd/fuzz/cat07_file_meta__TC0401_invalid_ts.dcm": "no-transfer-syntax",
    "odd/pydicom/meta_missing_tsyntax.dcm": "no-transfer-syntax",
    "odd/fuzz/cat07_file_meta__TC0395_meta_glen_max.dcm": "truncated-meta",
    "odd/fuzz/cat07_file_meta__TC0377_no_preamble.dcm": "not-part10",
    "odd/fuzz/cat07_file_meta__TC0383_no_dicm.dcm": "not-part10",
    "odd/fuzz/cat07_file_meta__TC0389_dicm_offset256.dcm": "not-part10",
    "odd/pydicom/ExplVR_BigEndNoMeta.dcm": "not-part10",
    "odd/pydicom/ExplVR_LitEndNoMeta.dcm": "not-part10",
    "odd/pydicom/no_meta.dcm": "not-part10",
    "sop/pydicom/rtstruct.dcm": "not-part10",
    "ts/pydicom-data/JLSL_RGB_ILV0.dcm": "not-part10",
    "ts/pydicom-data/JLSL_RGB_ILV1.dcm": "not-part10",
    "ts/pydicom-data/JLSL_RGB_ILV2.dcm": "not-part10",
    "ts/pydicom-data/JLSN_RGB_ILV0.dcm": "not-part10",
    "sop/pydicom/rtplan_truncated.dcm": "truncated-header",
    "synthetic/nest_200.dcm": "too-deep",
}

# Facts that may differ from pydicom's text, each looked at.
REVIEWED = {
    # pydicom drops an empty last component group of a name.
    ("charset/pydicom/chrX1.dcm", "patient_name"),
    ("charset/pydicom/chrX2.dcm", "patient_name"),
    # UN, as 64 KiB fit no short VR: pydicom gives bytes, here the beginning of the text.
    ("odd/fuzz/cat01_tag_overflow__TC0023_patientid_over_64KB.dcm", "patient_id"),
    ("odd/fuzz/cat01_tag_overflow__TC0107_patientsex_over_64KB.dcm", "patient_sex"),
    # A NUL within the value, which no store takes.
    ("odd/fuzz/cat02_vr_mismatch__TC0257_implicit_patname_binary.dcm", "patient_name"),
    ("odd/fuzz/cat08_string_encoding__TC0419_null_b_FU_x00ZZ_.dcm", "patient_id"),
}
# No Sequence Delimitation Item: pydicom drops the whole data set.
NOT_READ_BY_PYDICOM = "sop/pydicom-data/emri_small_jpeg_2k_lossless_too_short.dcm"


def files(corpus: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(corpus.rglob("*")):
        if path.is_file() and path.suffix != ".md" and "LICENSES" not in path.parts:
            yield str(path.relative_to(corpus)), path.read_bytes()


def examined(whole: bytes) -> Examined:
    part10 = split_part10(whole)
    return examine(whole[part10.prefix_length :], part10.transfer_syntax, part10.prefix_length)


def text_of(value: Any) -> str | None:
    """Return pydicom's value as a fact says it: values joined, padding trimmed."""
    if isinstance(value, MultiValue | list):
        return "\\".join(str(one).strip(" ") for one in value)
    return "" if value is None else str(value).strip(" ")


def element(tag: int, vr: str, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


UIDS = {0x00080016: b"1.2.840.10008.5.1.4.1.1.2", 0x00080018: b"1.2.3.4", 0x0020000D: b"1.2", 0x0020000E: b"1.2.3"}


def data_set(**facts: tuple[str, bytes]) -> bytes:
    """Return a data set of four UIDs and these facts, each with its VR and bytes."""
    values = {tag: ("UI", uid) for tag, uid in UIDS.items()} | {FACTS[name][0]: fact for name, fact in facts.items()}
    return b"".join(element(tag, *values[tag]) for tag in sorted(values))


def fact(name: str, value: bytes, *, vr: str | None = None, character_set: bytes | None = None) -> tuple[Any, set[str]]:
    """Return what a fact is read as, and the warnings."""
    facts = {name: (vr or FACTS[name][1], value)}
    if character_set is not None:
        facts["specific_character_set"] = ("CS", character_set)
    read = examine(data_set(**facts), EXPLICIT_VR_LITTLE_ENDIAN, 0)
    return getattr(read.facts, name), set(read.warnings) - {"odd-length"}


def test_every_file_of_the_corpus_is_read_or_refused_by_name(corpus: Path) -> None:
    refused, slow = {}, []
    for name, whole in files(corpus):
        began = time.process_time()
        try:
            examined(whole)
        except Rejected as rejected:
            refused[name] = rejected.reason
        if time.process_time() - began > 1:
            slow.append(name)

    assert refused == REFUSED
    assert not slow


def test_uids_and_facts_are_those_of_pydicom(corpus: Path) -> None:
    differences = set()
    for name, whole in files(corpus):
        if name in REFUSED or name == NOT_READ_BY_PYDICOM:
            continue
        ours = examined(whole)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = pydicom.dcmread(io.BytesIO(whole))
            uids = (theirs.StudyInstanceUID, theirs.SeriesInstanceUID, theirs.SOPInstanceUID, theirs.SOPClassUID)
            if uids != (ours.study_uid, ours.series_uid, ours.sop_uid, ours.sop_class):
                differences.add((name, "uids"))
            for fact_name, (tag, _) in FACTS.items():
                mine = getattr(ours.facts, fact_name)
                text = text_of(theirs[tag].value) if tag in theirs else None
                if (mine if mine is None else str(mine)) != text:
                    differences.add((name, fact_name))

    assert differences == REVIEWED


def test_pydicom_reads_our_prefix() -> None:
    written = prefix(CT, "1.2.3", EXPLICIT_VR_LITTLE_ENDIAN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        meta = pydicom.dcmread(io.BytesIO(written + data_set())).file_meta

    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (CT, "1.2.3")
    assert meta.TransferSyntaxUID == EXPLICIT_VR_LITTLE_ENDIAN
    assert meta.FileMetaInformationGroupLength == len(written) - 144
    assert meta.ImplementationClassUID.is_valid
    assert len(written) % 2 == 0
    assert split_part10(written) == (len(written), EXPLICIT_VR_LITTLE_ENDIAN, CT, "1.2.3")


def test_our_prefix_is_a_function_of_three_uids() -> None:
    written = prefix(CT, "1.2.3", EXPLICIT_VR_LITTLE_ENDIAN)

    assert prefix_hash(written) == "a177ca7cec90b979eded8f60a712f1639a9335980fd132658af3f29171c7314d"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_our_prefix_takes_nothing_but_uids(place: int) -> None:
    arguments = [CT, "1.2.3", EXPLICIT_VR_LITTLE_ENDIAN]
    arguments[place] = "../1"

    with pytest.raises(Rejected, match="no-usable-uid"):
        prefix(*arguments)


def meta(*elements: bytes, group_length: int | None = None) -> bytes:
    length = b"" if group_length is None else element(0x00020000, "UL", struct.pack("<I", group_length))
    return bytes(128) + b"DICM" + length + b"".join(elements)


SYNTAX = element(0x00020010, "UI", b"1.2.840.10008.1.2.1\0")


@pytest.mark.parametrize("group_length", [None, len(SYNTAX), 4_000_000_000, 99])
def test_the_data_set_begins_where_file_meta_ends_whatever_its_group_length_says(group_length: int | None) -> None:
    file_meta = meta(SYNTAX, group_length=group_length)

    assert split_part10(file_meta + data_set())[:2] == (len(file_meta), "1.2.840.10008.1.2.1")


def test_the_group_length_tells_deflated_bytes_from_file_meta() -> None:
    file_meta = meta(SYNTAX, group_length=len(SYNTAX))

    assert split_part10(file_meta + b"\x02\x00deflated").prefix_length == len(file_meta)


NO_PART10 = {
    "nothing": (b"", "not-part10"),
    "no magic": (bytes(200), "not-part10"),
    "no file meta": (meta(), "no-transfer-syntax"),
    "no transfer syntax": (meta(element(0x00020002, "UI", b"1.2")), "no-transfer-syntax"),
    "an empty transfer syntax": (meta(element(0x00020010, "UI", b"")), "no-transfer-syntax"),
    "file meta cut short": (meta(SYNTAX)[:-1], "truncated-meta"),
    "an element header cut short": (meta(SYNTAX)[:-25], "truncated-meta"),
}


@pytest.mark.parametrize("claim", NO_PART10)
def test_what_is_no_part_10_file_is_refused_by_name(claim: str) -> None:
    whole, reason = NO_PART10[claim]

    with pytest.raises(Rejected, match=reason):
        split_part10(whole)


def test_the_data_hash_covers_transfer_syntax_and_data_set() -> None:
    hasher = data_hasher("1.2.840.10008.1.2")
    hasher.update(b"data set")

    assert hasher.hexdigest() == hashlib.sha256(b"1.2.840.10008.1.2\0data set").hexdigest()


@pytest.mark.parametrize("tag", UIDS)
@pytest.mark.parametrize(
    "value", [b"", b"1..2", b".1", b"1.", b"a", b"1.2/../3", b"1" * 65, b" 1.2", b"1.2\\1.3", b"\xd9\xa1"]
)
def test_without_four_usable_uids_there_is_no_instance(tag: int, value: bytes) -> None:
    data = b"".join(element(each, "UI", value if each == tag else uid) for each, uid in sorted(UIDS.items()))

    with pytest.raises(Rejected, match="no-usable-uid"):
        examine(data, EXPLICIT_VR_LITTLE_ENDIAN, 0)


@pytest.mark.parametrize(("value", "warned"), [(b"1.02.3", True), (b"01.2", True), (b"1.0.10", False), (b"0.1", False)])
def test_leading_zeros_are_kept_and_warned_of(value: bytes, *, warned: bool) -> None:
    data = b"".join(element(tag, "UI", value if tag == 0x0020000D else uid) for tag, uid in sorted(UIDS.items()))
    read = examine(data, EXPLICIT_VR_LITTLE_ENDIAN, 0)

    assert read.study_uid == value.decode()
    assert ("leading-zero-in-uid" in read.warnings) == warned


def test_padding_is_no_part_of_a_uid() -> None:
    data = b"".join(element(tag, "UI", uid + b" \0") for tag, uid in sorted(UIDS.items()))

    assert examine(data, EXPLICIT_VR_LITTLE_ENDIAN, 0).sop_uid == "1.2.3.4"


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

    assert fact(name, value, character_set=character_set) == (text, warned)


# Fact, VR, bytes: value, warnings.
NUMBERS: dict[str, tuple[str, str, bytes, Any, set[str]]] = {
    "a number": ("rows", "US", b"\0\2", 512, set()),
    "a larger VR": ("rows", "UL", b"\0\2\0\0", 512, {"unexpected-vr"}),
    "a text": ("rows", "IS", b"512 ", 512, {"unexpected-vr"}),
    "two numbers": ("rows", "US", b"\1\0\2\0", 1, set()),
    "no number": ("rows", "US", b"", None, {"unreadable-number"}),
    "half a number": ("rows", "US", b"\1", None, {"unreadable-number"}),
    "more than any row count": ("rows", "UL", b"\0\0\0\x80", None, {"unexpected-vr", "unreadable-number"}),
    "a number for a text": ("instance_number", "US", b"\7\0", "7", {"unexpected-vr"}),
    "a text of another VR": ("instance_number", "LO", b"7 ", "7", {"unexpected-vr"}),
}


@pytest.mark.parametrize("claim", NUMBERS)
def test_numbers_are_read_by_their_vr(claim: str) -> None:
    name, vr, value, number, warned = NUMBERS[claim]

    assert fact(name, value, vr=vr) == (number, warned)


def test_numbers_are_read_in_big_endian_and_without_vr() -> None:
    big = b"".join(element(tag, "UI", uid, ">") for tag, uid in UIDS.items()) + element(0x00280010, "US", b"\2\0", ">")
    values = {**UIDS, 0x00280010: b"\0\2"}
    plain = b"".join(struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(v)) + v for tag, v in values.items())

    assert examine(big, EXPLICIT_VR_BIG_ENDIAN, 0).facts.rows == 512
    assert examine(plain, IMPLICIT_VR_LITTLE_ENDIAN, 0).facts.rows == 512


def test_every_fact_of_the_event_has_its_element() -> None:
    assert [*FACTS, *REQUESTED] == [each.name for each in fields(Facts)]


def test_an_absent_fact_is_none() -> None:
    read = examine(data_set(), EXPLICIT_VR_LITTLE_ENDIAN, 0)

    assert not {value for value in asdict(read.facts).values() if value is not None}


def stored(whole: bytes) -> tuple[str, Envelope, Any]:
    """Store a Part 10 file as the STOW door does: give its key, envelope and event."""
    part10 = split_part10(whole)
    dataset = memoryview(whole)[part10.prefix_length :]
    read = examine(dataset, part10.transfer_syntax, part10.prefix_length)
    hasher = data_hasher(part10.transfer_syntax)
    hasher.update(dataset)
    identity = Identity("local", read.study_uid, read.series_uid, read.sop_uid, hasher.hexdigest())
    envelope = Envelope(
        stored_at=STORED_AT,
        received_at=STORED_AT,
        origin="received",
        transfer_id="transfer-1",
        calling_ae="SENDER",
        called_ae="FLUORO",
        transfer_syntax=part10.transfer_syntax,
        prefix_length=part10.prefix_length,
        prefix_hash=prefix_hash(whole[: part10.prefix_length]),
        header_length=read.header_length,
    )
    header = inline_header(whole[: part10.prefix_length], dataset, read)
    return identity.key, envelope, instance_stored(identity, read, envelope, header, len(whole))


def test_an_object_and_its_envelope_give_the_same_event_again(corpus: Path) -> None:
    again = 0
    for name, whole in files(corpus):
        if name in REFUSED:
            continue
        key, envelope, event = stored(whole)
        with mmap.mmap(-1, len(whole)) as mapped:
            mapped.write(whole)
            rebuilt = from_object(key, Envelope.from_metadata(envelope.to_metadata()), mapped)

        assert rebuilt == event
        assert decode(encode(event)) == event
        again += 1

    assert again == 584 - len(REFUSED)


def test_the_event_is_known_by_what_was_stored() -> None:
    whole = prefix(CT, "1.2.3.4", EXPLICIT_VR_LITTLE_ENDIAN) + data_set()
    key, _, event = stored(whole)

    assert event.event_id == event_id("instance-stored", "local", "1.2", "1.2.3.4", Identity.of(key).data_hash)
    assert (event.occurred_at, event.cause, event.object_key) == (STORED_AT, ("transfer-1",), key)
    assert (event.header, event.header_length) == (whole, len(whole))


def test_a_repeat_names_the_transfer_that_carries_it_now_and_nothing_else() -> None:
    whole = prefix(CT, "1.2.3.4", EXPLICIT_VR_LITTLE_ENDIAN) + data_set()
    key, envelope, event = stored(whole)
    repeat = from_object(key, envelope, whole, transfer_id="transfer-2")

    assert repeat == replace(event, transfer_id="transfer-2", cause=("transfer-2",))


def test_the_same_data_set_behind_another_prefix_is_the_same_but_for_offsets(corpus: Path) -> None:
    whole = (corpus / "ts/pydicom/SC_rgb_jpeg_dcmtk.dcm").read_bytes()
    part10 = split_part10(whole)
    theirs = examined(whole)
    ours = prefix(part10.sop_class, part10.sop_uid, part10.transfer_syntax)
    mine = examined(ours + whole[part10.prefix_length :])

    assert rebase(mine, part10.prefix_length - len(ours)) == theirs


def test_a_header_over_128_kib_is_left_in_the_object() -> None:
    def header(text_bytes: int) -> bytes | None:
        long = struct.pack("<HH2sxxI", 0x0040, 0xA160, b"UT", text_bytes) + bytes(text_bytes)
        data = data_set() + long
        return inline_header(b"prefix", data, examine(data, EXPLICIT_VR_LITTLE_ENDIAN, len(b"prefix")))

    fixed = len(b"prefix" + data_set()) + 12
    at_limit = header(MAX_INLINE_HEADER_BYTES - fixed)

    assert at_limit is not None
    assert len(at_limit) == MAX_INLINE_HEADER_BYTES
    assert header(MAX_INLINE_HEADER_BYTES - fixed + 1) is None


def test_the_header_of_a_deflated_object_is_all_of_it(corpus: Path) -> None:
    whole = (corpus / "ts/pydicom/image_dfl.dcm").read_bytes()
    read = examined(whole)

    assert read.header_length == len(whole)
    assert (read.frames.kind, read.facts.rows) == ("unlisted", 512)


def test_facts_are_not_shown_when_printed() -> None:
    read = examine(data_set(patient_name=("PN", b"SECRET")), EXPLICIT_VR_LITTLE_ENDIAN, 0)

    assert "SECRET" not in repr(read)
