"""The examination of a data set, the hashes of an instance, and its event, which is equal each time it is made."""

import hashlib
import mmap
import struct
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from operators.dicom.attributes import TAGS
from operators.dicom.instance import (
    data_hasher,
    dated_by_store,
    examine,
    instance_stored,
    move_examination,
    prefix_hash,
)
from operators.dicom.part10 import part10_prefix, split_part10
from operators.dicom.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN
from operators.errors import Rejected
from schemas.codec import decode, encode
from schemas.events import event_id
from schemas.objects import Envelope, Identity
from tests.support.data.small_instances import (
    UIDS,
    corpus_files,
    data_set,
    data_set_with_uid,
    examine_file,
    short_element,
)
from tests.support.worlds.reading import event_of_object

CT = "1.2.840.10008.5.1.4.1.1.2"
STORED_AT = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)

# Every file that is no instance, and the reason.
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


def test_every_file_of_the_corpus_is_read_or_refused_with_its_reason(corpus: Path) -> None:
    refused, slow = {}, []
    for name, whole in corpus_files(corpus):
        began = time.process_time()
        try:
            examine_file(whole)
        except Rejected as rejected:
            refused[name] = rejected.reason
        if time.process_time() - began > 1:
            slow.append(name)

    assert refused == REFUSED
    assert not slow


@pytest.mark.parametrize("tag", UIDS)
@pytest.mark.parametrize(
    "value", [b"", b"1..2", b".1", b"1.", b"a", b"1.2/../3", b"1" * 65, b" 1.2", b"1.2\\1.3", b"\xd9\xa1"]
)
def test_a_data_set_without_four_usable_uids_is_rejected(tag: int, value: bytes) -> None:
    data = data_set_with_uid(tag, value)

    with pytest.raises(Rejected, match="no-usable-uid"):
        examine(data, EXPLICIT_VR_LITTLE_ENDIAN, 0)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (b"", "is empty"),
        (b"\0 ", "is empty"),
        (b"1" * 65, "is longer than 64 characters"),
        (b"1..2", "is not numbers between dots"),
        (b"DOE^JANE", "is not numbers between dots"),
    ],
)
def test_a_rejection_says_which_uid_is_unusable_and_repeats_none_of_it(value: bytes, fault: str) -> None:
    for name, words in (("SeriesInstanceUID", "Series Instance UID"), ("SOPInstanceUID", "SOP Instance UID")):
        with pytest.raises(Rejected) as caught:
            examine(data_set_with_uid(TAGS[name], value), EXPLICIT_VR_LITTLE_ENDIAN, 0)

        assert (caught.value.reason, caught.value.told) == ("no-usable-uid", f"{words} {fault}")


def test_a_rejection_says_which_uid_is_missing() -> None:
    with pytest.raises(Rejected) as caught:
        examine(b"", EXPLICIT_VR_LITTLE_ENDIAN, 0)

    assert caught.value.told == "Study Instance UID is missing"


@pytest.mark.parametrize(("value", "warned"), [(b"1.02.3", True), (b"01.2", True), (b"1.0.10", False), (b"0.1", False)])
def test_a_uid_with_leading_zeros_is_kept_with_a_warning(value: bytes, *, warned: bool) -> None:
    data = data_set_with_uid(TAGS["StudyInstanceUID"], value)
    read = examine(data, EXPLICIT_VR_LITTLE_ENDIAN, 0)

    assert read.study_uid == value.decode()
    assert ("leading-zero-in-uid" in read.warnings) == warned


def test_padding_is_no_part_of_a_uid() -> None:
    data = b"".join(short_element(tag, "UI", uid + b" \0") for tag, uid in sorted(UIDS.items()))

    assert examine(data, EXPLICIT_VR_LITTLE_ENDIAN, 0).sop_uid == "1.2.3.4"


def test_the_data_hash_covers_transfer_syntax_and_data_set() -> None:
    hasher = data_hasher("1.2.840.10008.1.2")
    hasher.update(b"data set")

    assert hasher.hexdigest() == hashlib.sha256(b"1.2.840.10008.1.2\0data set").hexdigest()


def stored(whole: bytes) -> tuple[str, Envelope, Any]:
    """Return key, envelope and event of a Part 10 file that is stored as STOW stores it."""
    meta = split_part10(whole)
    dataset = memoryview(whole)[meta.prefix_length :]
    read = examine(dataset, meta.transfer_syntax, meta.prefix_length)
    hasher = data_hasher(meta.transfer_syntax)
    hasher.update(dataset)
    identity = Identity("local", read.study_uid, read.series_uid, read.sop_uid, hasher.hexdigest())
    envelope = Envelope(
        stored_at=STORED_AT,
        received_at=STORED_AT,
        origin="received",
        transfer_id="transfer-1",
        calling_ae="SENDER",
        called_ae="FLUORO",
        transfer_syntax=meta.transfer_syntax,
        prefix_length=meta.prefix_length,
        prefix_hash=prefix_hash(whole[: meta.prefix_length]),
        header_length=read.header_length,
    )
    return identity.key, envelope, instance_stored(identity, read, envelope, len(whole))


def test_a_stored_object_and_its_envelope_give_its_event_again(corpus: Path) -> None:
    compared = 0
    for name, whole in corpus_files(corpus):
        if name in REFUSED:
            continue
        key, envelope, event = stored(whole)
        with mmap.mmap(-1, len(whole)) as mapped:
            mapped.write(whole)
            rebuilt = event_of_object(key, Envelope.from_metadata(envelope.to_metadata()), mapped)

        assert rebuilt == event
        assert decode(encode(event)) == event
        compared += 1

    assert compared == 584 - len(REFUSED)


def test_the_event_id_is_derived_from_the_stored_instance() -> None:
    whole = part10_prefix(CT, "1.2.3.4", EXPLICIT_VR_LITTLE_ENDIAN) + data_set()
    key, _, event = stored(whole)

    assert event.event_id == event_id("instance-stored", "local", "1.2", "1.2.3.4", Identity.of(key).data_hash)
    assert (event.occurred_at, event.cause, event.object_key) == (STORED_AT, ("transfer-1",), key)
    assert (event.header_length, event.size_bytes) == (len(whole), len(whole))


def test_a_repeats_event_differs_in_its_transfer_alone() -> None:
    whole = part10_prefix(CT, "1.2.3.4", EXPLICIT_VR_LITTLE_ENDIAN) + data_set()
    key, envelope, event = stored(whole)
    repeat = event_of_object(key, envelope, whole, transfer_id="transfer-2")

    assert repeat == replace(event, transfer_id="transfer-2", cause=("transfer-2",))


@pytest.mark.parametrize(
    ("later_s", "moved_s"), [(None, 0), (-3600, 0), (0, 0), (1, 0), (2, 2), (40, 40)], ids=lambda value: f"{value}"
)
def test_an_event_occurred_when_the_store_took_the_object_if_that_is_clearly_later(
    later_s: float | None, moved_s: float
) -> None:
    _, _, event = stored(part10_prefix(CT, "1.2.3.4", EXPLICIT_VR_LITTLE_ENDIAN) + data_set())
    modified_at = None if later_s is None else STORED_AT + timedelta(seconds=later_s)

    assert dated_by_store(event, modified_at) == replace(event, occurred_at=STORED_AT + timedelta(seconds=moved_s))


def test_another_prefix_changes_only_the_offsets_of_an_examination(corpus: Path) -> None:
    whole = (corpus / "ts/pydicom/SC_rgb_jpeg_dcmtk.dcm").read_bytes()
    meta = split_part10(whole)
    theirs = examine_file(whole)
    ours = part10_prefix(meta.sop_class, meta.sop_uid, meta.transfer_syntax)
    mine = examine_file(ours + whole[meta.prefix_length :])

    assert move_examination(mine, meta.prefix_length - len(ours)) == theirs


def test_an_event_carries_no_bytes_of_its_header() -> None:
    private = b"PRIVATE VALUE, NO FACT"
    element = struct.pack("<HH2sH", 0x0043, 0x1010, b"LO", len(private)) + private
    _, _, event = stored(part10_prefix(CT, "1.2.3.4", EXPLICIT_VR_LITTLE_ENDIAN) + data_set() + element)

    assert private not in encode(event)


def test_all_of_a_deflated_object_counts_as_header(corpus: Path) -> None:
    whole = (corpus / "ts/pydicom/image_dfl.dcm").read_bytes()
    read = examine_file(whole)

    assert read.header_length == len(whole)
    assert (read.frames.kind, read.facts.rows) == ("unlisted", 512)


def test_an_examination_does_not_print_patient_data() -> None:
    read = examine(data_set(patient_name=("PN", b"SECRET")), EXPLICIT_VR_LITTLE_ENDIAN, 0)

    assert "SECRET" not in repr(read)
