"""Transfer syntaxes: pydicom is the oracle for byte order, VRs, encapsulation and deflate."""

import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.uid import AllTransferSyntaxes

from operators.dicom.transfer_syntaxes import (
    DEFLATED,
    EXPLICIT_VR_LITTLE_ENDIAN,
    JPIP_HTJ2K_REFERENCED_DEFLATE,
    JPIP_REFERENCED_DEFLATE,
    NATIVE,
    VALUE_BYTES,
    rest_bits_by_tag,
    transfer_syntax_of,
)

JPEG = "1.2.840.10008.1.2.4.50"
# Deflated and without pixels: pydicom treats them like any compressed syntax.
JPIP_DEFLATED = {JPIP_REFERENCED_DEFLATE, JPIP_HTJ2K_REFERENCED_DEFLATE}


@pytest.mark.parametrize("uid", sorted(set(AllTransferSyntaxes) - JPIP_DEFLATED))
def test_a_transfer_syntax_is_written_as_pydicom_says(uid: str) -> None:
    (known,) = (syntax_uid for syntax_uid in AllTransferSyntaxes if syntax_uid == uid)
    syntax = transfer_syntax_of(uid)

    assert syntax.is_explicit == (not known.is_implicit_VR)
    assert syntax.is_big_endian == (not known.is_little_endian)
    assert syntax.is_deflated == known.is_deflated
    assert syntax.is_encapsulated == (known.is_encapsulated and not known.is_deflated)


def test_native_deflated_and_encapsulated_frames_are_told_apart() -> None:
    assert EXPLICIT_VR_LITTLE_ENDIAN in NATIVE
    assert JPIP_DEFLATED <= DEFLATED
    assert JPEG not in NATIVE | DEFLATED
    assert transfer_syntax_of("1.2.3").is_encapsulated


def test_the_sizes_of_values_are_those_of_the_standard() -> None:
    sizes = {2: {"SS", "US"}, 4: {"AT", "FL", "OF", "OL", "SL", "UL"}, 8: {"FD", "OD", "OV", "SV", "UV"}}

    assert {vr: size for size, vrs in sizes.items() for vr in vrs} == VALUE_BYTES


@pytest.mark.parametrize(
    ("keyword", "bits"),
    [
        ("Rows", 1),
        ("SmallestImagePixelValue", 1),
        ("FrameIncrementPointer", 3),
        ("RecommendedDisplayFrameRateInFloat", 3),
        ("DiffusionBValue", 7),
        ("LUTData", None),
        ("PatientName", None),
    ],
)
def test_without_vrs_the_dictionary_tells_the_size_where_all_its_vrs_agree(keyword: str, bits: int | None) -> None:
    assert rest_bits_by_tag().get(tag_for_keyword(keyword) or 0) == bits
