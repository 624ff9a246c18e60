"""Transfer syntaxes: pydicom is the oracle for byte order, VRs, encapsulation and deflate."""

import pytest
from pydicom.uid import AllTransferSyntaxes

from operators.dicom.transfer_syntaxes import (
    DEFLATED,
    EXPLICIT_VR_LITTLE_ENDIAN,
    JPIP_HTJ2K_REFERENCED_DEFLATE,
    JPIP_REFERENCED_DEFLATE,
    NATIVE,
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
