"""Real files are rendered as pydicom would display them; the others are refused with a known reason."""

import warnings
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array

from operators.errors import Rejected
from operators.imaging.display import is_shown_as_stored
from operators.imaging.reasons import TOO_LARGE
from tests.support.data.render_jobs import job_of, picture_of, storable_job_of

# The images of the corpus that cannot be rendered, and why; every other one is rendered.
REFUSED = {
    "odd/fuzz/cat04_pixel_data__TC0299_bits_bsstored_gt_ba.dcm": "bad-image-description",
    "odd/fuzz/cat04_pixel_data__TC0305_bits_ba_zero.dcm": "bad-image-description",
    "odd/fuzz/cat04_pixel_data__TC0311_bits_ba_nine.dcm": "bad-image-description",
    "synthetic/video_h264.dcm": "unsupported-transfer-syntax",
    # Its code stream contains bytes that look like a delimiter, which cut it short.
    "ts/pydicom/JPEG2000-embedded-sequence-delimiter.dcm": "undecodable-frame",
}
RENDERED = 448
COMPARED = 340


def test_every_image_of_the_corpus_is_rendered_or_refused_for_a_known_reason(corpus: Path) -> None:
    refused, count = {}, 0
    for path in sorted(corpus.rglob("*")):
        job = storable_job_of(path.read_bytes()) if path.is_file() else None
        if job is None:
            continue
        try:
            assert picture_of(job).size
            count += 1
        except Rejected as error:
            refused[str(path.relative_to(corpus))] = error.reason

    assert (refused, count) == (REFUSED, RENDERED)


@pytest.mark.filterwarnings("ignore")
def test_images_look_as_pydicom_would_display_them(corpus: Path) -> None:
    seen = 0
    for path in sorted(corpus.rglob("*")):
        whole = path.read_bytes() if path.is_file() else b""
        job = storable_job_of(whole)
        wanted = reference(whole) if job and str(path.relative_to(corpus)) not in REFUSED else None
        if job and wanted is not None:
            found = picture_of(job).astype(float)
            seen += 1

            assert abs(found - wanted).max() <= 1.01, path.name

    assert seen >= COMPARED


def reference(whole: bytes) -> NDArray[Any] | None:
    """Return a file's first frame as pydicom's own functions display it; None if they cannot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = dcmread(BytesIO(whole))
            samples = pixel_array(dataset, index=0)
            return _coloured(samples, dataset) if _is_colour(dataset) else _gray(samples, dataset)
        except (ValueError, AttributeError, NotImplementedError, RuntimeError, OverflowError):
            return None


def _is_colour(dataset: Dataset) -> bool:
    return bool(dataset.PhotometricInterpretation == "PALETTE COLOR" or dataset.SamplesPerPixel > 1)


def _coloured(samples: NDArray[Any], dataset: Dataset) -> NDArray[Any] | None:
    if "PixelAspectRatio" in dataset:
        return None
    if dataset.PhotometricInterpretation != "PALETTE COLOR":
        return np.asarray(np.floor(samples * (255 / (2**dataset.BitsStored - 1))))
    shown = apply_color_lut(samples, dataset)
    return np.asarray(shown >> 8 if shown.max() > 255 else shown)


def _gray(samples: NDArray[Any], dataset: Dataset) -> NDArray[Any] | None:
    values = apply_modality_lut(samples, dataset).astype(float)
    if "SharedFunctionalGroupsSequence" in dataset or is_shown_as_stored(dataset):
        return None
    if dataset.get("WindowCenter") is not None or dataset.get("VOILUTSequence"):
        shares = _voi(values if "ModalityLUTSequence" not in dataset else apply_modality_lut(samples, dataset), dataset)
    elif dataset.BitsStored > 8 and ("PixelPaddingValue" in dataset or values.min() == values.max()):
        return None
    else:
        ends = np.array([0, 2**dataset.BitsStored - 1]) if dataset.BitsStored <= 8 else values
        ends = ends - 2 ** (dataset.BitsStored - 1) * dataset.PixelRepresentation if dataset.BitsStored <= 8 else ends
        shares = (values - ends.min()) / (ends.max() - ends.min())
    is_inverse = dataset.PhotometricInterpretation == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE"
    return np.asarray((1 - shares if is_inverse else shares) * 255)


def _voi(values: NDArray[Any], dataset: Dataset) -> NDArray[Any]:
    """Return how white each value is, from 0 to 1; pydicom's window returns values in the range of the stored bits."""
    shown = apply_voi_lut(values, dataset)
    if dataset.get("VOILUTSequence"):
        return np.asarray(shown / (2 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1))
    if "ModalityLUTSequence" in dataset:
        return np.asarray(shown / (2 ** dataset.ModalityLUTSequence[0].LUTDescriptor[2] - 1))
    half = 2 ** (dataset.BitsStored - 1) * dataset.PixelRepresentation
    ends = np.array([-half, 2**dataset.BitsStored - 1 - half])
    low, high = apply_modality_lut(ends, dataset)
    return np.asarray((shown - low) / (high - low))


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("sop/pydicom-data/liver_rle.dcm", "sop/pydicom-data/liver.dcm"),
        ("sop/pydicom-data/liver_deflate.dcm", "sop/pydicom-data/liver.dcm"),
        ("sop/pydicom-data/liver_j2k.dcm", "sop/pydicom-data/liver.dcm"),
        ("odd/pydicom-data/liver_nonbyte_aligned_rle.dcm", "odd/pydicom-data/liver_nonbyte_aligned.dcm"),
        ("odd/pydicom-data/liver_nonbyte_aligned_deflate.dcm", "odd/pydicom-data/liver_nonbyte_aligned.dcm"),
        ("odd/pydicom-data/liver_nonbyte_aligned_j2k.dcm", "odd/pydicom-data/liver_nonbyte_aligned.dcm"),
        ("ts/DICOMHTJ2K/CT1_JPH", "ts/DICOMHTJ2K/CT1_UNC"),
        ("ts/DICOMHTJ2K/MR4_JPH", "ts/DICOMHTJ2K/MR4_UNC"),
        ("ts/DICOMHTJ2K/US1_JPH", "ts/DICOMHTJ2K/US1_UNC"),
    ],
)
def test_every_compressed_frame_looks_like_the_same_frame_uncompressed(corpus: Path, name: str, twin: str) -> None:
    compressed, plain = (
        [picture_of(job) for number in (1, 2, 3) if (job := job_of((corpus / one).read_bytes(), number))]
        for one in (name, twin)
    )

    assert compressed
    np.testing.assert_array_equal(compressed, plain)


def test_an_image_larger_than_the_limit_is_not_decoded(corpus: Path) -> None:
    job = job_of((corpus / "ts/DICOMHTJ2K/CT1_JPH").read_bytes())
    assert job

    with pytest.raises(Rejected, match=TOO_LARGE):
        picture_of(replace(job, most_bytes=512 * 512 * 2 - 1))
