"""The samples of every real image are those of pydicom and of dcmtk; each disagreement is named with its cause."""

import logging
import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.pixels import pixel_array

from operators.errors import Rejected
from operators.imaging.render import decode_job
from tests.support.data.render_jobs import job_of
from tests.support.data.small_instances import corpus_files, examine_file
from tests.support.machine.debian_tools import Programs

Samples = NDArray[Any]

# The images that pydicom reads no samples of, and what they are here.
ONLY_HERE = {
    "odd/fuzz/cat04_pixel_data__TC0323_encap_zero_frag.dcm": "Pixel Data twice: pydicom takes the second, of 8 bytes",
    "odd/fuzz/cat04_pixel_data__TC0335_pi_256chars.dcm": "an unknown Photometric Interpretation of one sample is gray",
    "odd/pydicom/badVR.dcm": "a Number of Frames of 1A counts as 1",
    "odd/pydicom-data/liver_nonbyte_aligned_deflate.dcm": "pydicom has no decoder of deflated frames",
    "odd/pydicom-data/liver_nonbyte_aligned_rle.dcm": "pydicom has no decoder of RLE with one-bit samples",
    "sop/pydicom-data/emri_small_jpeg_2k_lossless_too_short.dcm": "pydicom drops Pixel Data without a delimiter",
    "sop/pydicom-data/liver_deflate.dcm": "pydicom has no decoder of deflated frames",
    "sop/pydicom-data/liver_rle.dcm": "pydicom has no decoder of RLE with one-bit samples",
    "ts-same-image/cornerstone3D/CTImage.dcm_JPEGProcess10_12TransferSyntax_1.2.840.10008.1.2.4.55.dcm": "retired process",
    "ts-same-image/cornerstone3D/CTImage.dcm_JPEGProcess6_8TransferSyntax_1.2.840.10008.1.2.4.53.dcm": "retired process",
    "ts/pydicom/JPEG-lossy.dcm": "its scan ends at coefficient 0, where T.81 has 63 for every sequential process",
}
# The images that only pydicom reads, or only dcmtk: none.
ONLY_PYDICOM: dict[str, str] = {}
ONLY_DCMTK: dict[str, str] = {}
COMPARED_WITH_PYDICOM, COMPARED_WITH_DCMTK = 400, 50

SYNTAX = "1.2.840.10008.1.2."
DCMTK = {
    **dict.fromkeys((SYNTAX + number for number in ("4.50", "4.51", "4.53", "4.55", "4.57", "4.70")), "dcmdjpeg"),
    **dict.fromkeys((SYNTAX + number for number in ("4.80", "4.81")), "dcmdjpls"),
    SYNTAX + "5": "dcmdrle",
}
# The images that dcmtk decompresses otherwise or not at all, and why.
NOT_AS_DCMTK = {
    "odd/pydicom-data/liver_nonbyte_aligned_rle.dcm": "dcmtk has no decoder of RLE with one-bit samples",
    "sop/go-dicom/I_000007.dcm": "another interpolation of halved chroma: 2 of 255, in 1 of 100,000 values",
    "sop/pydicom-data/liver_rle.dcm": "dcmtk has no decoder of RLE with one-bit samples",
    "ts/cornerstone3D/TestPattern_JPEG-Baseline_YBR422.dcm": "another interpolation of halved chroma at edges: 7 of 255",
    "ts/pydicom/SC_rgb_jpeg.dcm": "implicit VR in an explicit syntax: dcmtk finds no code stream",
}


def images(corpus: Path) -> Iterator[tuple[str, bytes, int]]:
    """Yield name, bytes and number of frames of every image of the corpus."""
    for name, whole in corpus_files(corpus):
        try:
            frames = examine_file(whole).frames
        except Rejected:
            continue
        if frames.kind != "none" and frames.count:
            yield name, whole, frames.count


def here(whole: bytes, number: int) -> Samples | None:
    """Return the samples of a frame; None if it is refused."""
    job = job_of(whole, number)
    try:
        return decode_job(job)[2].samples if job else None
    except Rejected:
        return None


def of_pydicom(whole: bytes, number: int) -> Samples | None:
    """Return the samples of a frame as pydicom reads them; None if it cannot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return np.asarray(pixel_array(dcmread(BytesIO(whole), force=True), index=number - 1, raw=True))
        except (ValueError, AttributeError, NotImplementedError, RuntimeError):
            return None


def are_equal(one: Samples, other: Samples, most: int = 0) -> bool:
    return one.shape == other.shape and bool(abs(one.astype(float) - other.astype(float)).max() <= most)


def test_the_samples_of_real_images_are_those_of_pydicom(corpus: Path) -> None:
    only_here, only_pydicom, different, compared = set(), set(), set(), 0
    logging.disable(logging.CRITICAL)
    for name, whole, count in images(corpus):
        for number in sorted({1, count}):
            ours, theirs = here(whole, number), of_pydicom(whole, number)
            if ours is None or theirs is None:
                only_here |= {name} if ours is not None else set()
                only_pydicom |= {name} if theirs is not None else set()
                continue
            different |= set() if are_equal(ours, theirs) else {name}
            compared += 1
    logging.disable(logging.NOTSET)

    assert (only_here, only_pydicom, different) == (set(ONLY_HERE), set(ONLY_PYDICOM), set())
    assert compared >= COMPARED_WITH_PYDICOM


def test_the_samples_of_real_compressed_images_are_those_that_dcmtk_decompresses(
    corpus: Path, dcmtk: Programs, tmp_path: Path
) -> None:
    different, only_dcmtk, compared = set(), set(), 0
    for name, whole, _ in images(corpus):
        job = job_of(whole)
        program = DCMTK.get(job.transfer_syntax) if job else None
        if program is None:
            continue
        ours = here(whole, 1)
        (tmp_path / "compressed.dcm").write_bytes(whole)
        as_stored = ["+cn"] if program == "dcmdjpeg" else []
        try:
            dcmtk.run(program, *as_stored, tmp_path / "compressed.dcm", tmp_path / "native.dcm")
            theirs = here((tmp_path / "native.dcm").read_bytes(), 1)
        except CalledProcessError:
            theirs = None
        if ours is None:
            only_dcmtk |= {name} if theirs is not None else set()
            continue
        # Two decoders of lossy JPEG may differ by one.
        different |= set() if theirs is not None and are_equal(ours, theirs, most=1) else {name}
        compared += 1

    assert (different, only_dcmtk) == (set(NOT_AS_DCMTK), set(ONLY_DCMTK))
    assert compared >= COMPARED_WITH_DCMTK
