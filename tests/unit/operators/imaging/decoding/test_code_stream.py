"""A code stream says the bits, the sign and the colours of its samples, and no bytes break its reader."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from operators.imaging.decoding.code_stream import CodeStream, read_code_stream, with_full_spectrum


def jpeg(mode: str = "RGB", **options: object) -> bytes:
    stream = BytesIO()
    Image.new(mode, (8, 8)).save(stream, "JPEG", **options)
    return stream.getvalue()


def jpeg_2000(bits: int, *, is_transformed: bool) -> bytes:
    """Return the header of a code stream whose Ssiz is `bits` (T.800 A.5.1)."""
    size = bytes(36) + bytes([bits]) + bytes(2)
    style = bytes(4) + bytes([is_transformed]) + bytes(5)
    segments = b"".join(
        b"\xff" + bytes([marker]) + (len(content) + 2).to_bytes(2, "big") + content
        for marker, content in ((0x51, size), (0x52, style))
    )
    return b"\xff\x4f" + segments + b"\xff\x93"


# JPEG-LS of 12 bits: start of image, start of frame 55 (T.87 C.2.2).
JPEG_LS = b"\xff\xd8\xff\xf7\x00\x0b\x0c\x00\x40\x00\x40\x01\x01\x11\x00\xff\xda"
STREAMS = {
    "JPEG of JFIF": (jpeg(), CodeStream(8)),
    "JPEG that Adobe's marker calls RGB": (jpeg(keep_rgb=True), CodeStream(8, photometric_interpretation="RGB")),
    "gray JPEG": (jpeg("L"), CodeStream(8)),
    "fill bytes before a marker": (JPEG_LS[:2] + b"\xff\xff" + JPEG_LS[2:], CodeStream(12)),
    "JPEG-LS": (JPEG_LS, CodeStream(12)),
    "JPEG 2000": (jpeg_2000(11, is_transformed=False), CodeStream(12)),
    "JPEG 2000, signed": (jpeg_2000(0x80 | 15, is_transformed=False), CodeStream(16, is_signed=True)),
    "JPEG 2000, transformed": (jpeg_2000(7, is_transformed=True), CodeStream(8, photometric_interpretation="RGB")),
    "JPEG 2000 in a JP2 file": (
        b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(4) + b"jp2c" + jpeg_2000(9, is_transformed=False),
        CodeStream(10),
    ),
    "nothing": (b"", None),
    "RLE": (np.array([1, 64, *[0] * 14], "<u4").tobytes(), None),
    "JPEG cut before its frame": (JPEG_LS[:6], None),
    "JPEG 2000 cut within its size": (jpeg_2000(7, is_transformed=False)[:20], None),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_code_stream_says_what_its_samples_are(name: str) -> None:
    stream, wanted = STREAMS[name]

    assert read_code_stream(stream) == wanted


def cut(stream: bytes, *, last: int = 0) -> bytes:
    """Return a JPEG whose first scan says that its last coefficient is this one."""
    scan = stream.index(b"\xff\xda")
    end = scan + int.from_bytes(stream[scan + 2 : scan + 4], "big")
    return stream[:end] + bytes([last]) + stream[end + 1 :]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_sequential_scan_has_all_coefficients_whatever_it_says(mode: str) -> None:
    whole = jpeg(mode)

    assert cut(whole) != whole
    assert with_full_spectrum(cut(whole)) == with_full_spectrum(whole) == whole


@pytest.mark.parametrize(
    "stream", [cut(jpeg(progressive=True), last=5), JPEG_LS, jpeg()[:20], b"", b"\xff\xd8\xff\xda"]
)
def test_any_other_scan_stays_as_it_is(stream: bytes) -> None:
    assert with_full_spectrum(stream) == stream


@given(st.sampled_from([b"", b"\xff\xd8", b"\xff\x4f", b"\0\0\0\x0cjP  "]), st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(start: bytes, rest: bytes) -> None:
    read_code_stream(start + rest)
    assert len(with_full_spectrum(start + rest)) == len(start + rest)
