"""Decoded samples become pictures: colour spaces, regions, sizes and file formats."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pydicom.pixels.processing import convert_color_space

from operators.errors import Rejected
from operators.imaging.decoding.pixels import DecodedFrame
from operators.imaging.display import DisplayParameters
from operators.imaging.gray import GrayTransform, Window
from operators.imaging.picture import encode, make_picture
from operators.imaging.request import Rendering, Viewport
from tests.support.data.render_jobs import job_of, opened, picture_of
from tests.support.worlds.reading import part10

PNG = Rendering("image/png")
DISPLAY = DisplayParameters(GrayTransform())
# An image of four tones, one in each quarter.
QUARTERS = np.array([[10, 80], [150, 240]], np.uint8).repeat(40, axis=0).repeat(60, axis=1)


@given(arrays(np.uint8, (2, 5, 3)))
def test_ybr_full_becomes_the_same_rgb_as_with_pydicom(samples: NDArray[np.uint8]) -> None:
    wanted = convert_color_space(samples, "YBR_FULL", "RGB").astype(int)

    assert abs(make_picture(DecodedFrame(samples, "YBR_FULL"), DISPLAY, PNG) - wanted).max() <= 1


def test_ybr_partial_luminance_goes_from_16_to_235() -> None:
    samples = np.array([[[16, 128, 128], [235, 128, 128]]], np.uint8)

    assert make_picture(DecodedFrame(samples, "YBR_PARTIAL_420"), DISPLAY, PNG).tolist() == [[[0] * 3, [255] * 3]]


def test_an_unknown_colour_space_is_refused() -> None:
    with pytest.raises(Rejected, match="unsupported-photometric"):
        make_picture(DecodedFrame(np.zeros((1, 1, 3), np.uint8), "HSV"), DISPLAY, PNG)


@pytest.mark.parametrize(
    ("viewport", "size", "corners"),
    [
        (Viewport(60, 60), (60, 40), (10, 80, 150, 240)),
        (Viewport(240, 100), (150, 100), (10, 80, 150, 240)),
        (Viewport(120, 80, 60, 0, 60, 40), (120, 80), (80, 80, 80, 80)),
        (Viewport(120, 80, 0, 0, -120, 80), (120, 80), (80, 10, 240, 150)),
        (Viewport(120, 80, 0, 0, 120, -80), (120, 80), (150, 240, 10, 80)),
        (Viewport(120, 80, 0, 0, -120, -80), (120, 80), (240, 150, 80, 10)),
        (Viewport(60, 40, 60, 40, 999, 999), (60, 40), (240, 240, 240, 240)),
        (Viewport(200, 200, only_shrinks=True), (120, 80), (10, 80, 150, 240)),
    ],
)
def test_a_viewport_crops_mirrors_and_scales(
    viewport: Viewport, size: tuple[int, int], corners: tuple[int, ...]
) -> None:
    shown = opened(encode(QUARTERS, Rendering("image/png", viewport=viewport)))

    assert (shown.shape[1], shown.shape[0]) == size
    assert (shown[0, 0], shown[0, -1], shown[-1, 0], shown[-1, -1]) == corners


def test_a_region_outside_the_image_is_refused() -> None:
    with pytest.raises(Rejected, match="empty-region"):
        encode(QUARTERS, Rendering(viewport=Viewport(10, 10, 120, 0, 5, 5)))


@pytest.mark.parametrize(("aspect", "size"), [(2.0, (120, 160)), (0.5, (240, 80)), (1.0, (120, 80))])
def test_pixels_that_are_not_square_are_stretched(aspect: float, size: tuple[int, int]) -> None:
    shown = opened(encode(QUARTERS, PNG, aspect))

    assert (shown.shape[1], shown.shape[0]) == size


def test_a_lower_quality_takes_fewer_bytes() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64), np.uint8)
    sizes = [len(encode(noise, Rendering(quality=quality))) for quality in (1, 50, 100)]

    assert sizes == sorted(set(sizes))


def test_the_clients_window_overrides_the_images_window() -> None:
    job = job_of(part10(WindowCenter="3", WindowWidth="6"), rendering=replace(PNG, window=Window(1, 1)))
    assert job

    assert picture_of(job).reshape(-1).tolist() == [0, 255, 255, 255, 255, 255]
