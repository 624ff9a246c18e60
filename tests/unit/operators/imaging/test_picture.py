"""Samples as pictures: each step by its formula, all together by pydicom over real files (CONFORMANCE 38)."""

import warnings
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array
from pydicom.pixels.processing import convert_color_space

from operators.errors import BadQuery, Rejected
from operators.imaging.display import Look, is_shown_as_stored
from operators.imaging.gray import GrayLook, Rescale, Table, Window, tones
from operators.imaging.job import RenderJob, pack_job, unpack_job
from operators.imaging.palette import Descriptor, Palette, eight_bits, expanded, table
from operators.imaging.picture import encoded, picture
from operators.imaging.pixels import Decoded
from operators.imaging.request import Rendering, Viewport, parse_rendering, parse_thumbnail
from tests.support.data.pictures import job_of, opened, picture_of, storable_job_of
from tests.support.worlds.reading import part10

RAMP = np.arange(-2000, 3000, dtype=np.int16).reshape(50, 100)
PNG = Rendering("image/png")

# Gray


@pytest.mark.parametrize(
    ("window", "value", "wanted"),
    [
        (Window(40, 400), -160, 0),
        (Window(40, 400), 239, 255),
        (Window(40, 400), 39, 127),
        (Window(2048, 4096), 0, 0),
        (Window(2048, 4096), 4095, 255),
        (Window(100, 1), 99, 0),
        (Window(100, 1), 100, 255),
        (Window(0, 100, "LINEAR_EXACT"), 0, 128),
        (Window(0, 100, "LINEAR_EXACT"), 50, 255),
        (Window(0, 100, "LINEAR_EXACT"), -50, 0),
        (Window(0, 100, "SIGMOID"), 0, 128),
        (Window(0, 100, "SIGMOID"), 50, round(255 / (1 + np.exp(-2)))),
    ],
)
def test_a_window_is_that_of_ps3_3_c_11_2_1_2(window: Window, value: int, wanted: int) -> None:
    (tone,) = tones(np.array([value], np.int16), GrayLook(voi=window))

    assert abs(int(tone) - wanted) <= 1


@given(
    arrays(np.int16, 40),
    st.floats(-3000, 3000),
    st.floats(1, 5000),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    st.booleans(),
)
def test_tones_rise_with_the_samples_and_are_those_of_each_alone(
    samples: NDArray[np.int16],
    center: float,
    width: float,
    function: str,
    is_inverse: bool,  # noqa: FBT001
) -> None:
    look = GrayLook(Rescale(2, -1000), Window(center, width, function), is_inverse)
    together = tones(samples, look)
    rising = together[np.argsort(samples, kind="stable")].astype(int)

    assert (np.diff(rising) * (-1 if is_inverse else 1) >= 0).all()
    assert (together == tones(samples.astype(np.float64), look)).all()
    assert (together == tones(samples.astype(np.int32), look)).all()


def test_without_a_window_the_samples_go_from_black_to_white_and_padding_is_black() -> None:
    plain, padded = tones(RAMP, GrayLook()), tones(RAMP, GrayLook(padding=(-2000, -1001)))

    assert (plain.min(), plain.max()) == (0, 255)
    assert set(padded[:10].reshape(-1)) == {0}
    assert padded[10, 0] == 0
    assert padded[10, 99] > plain[10, 99] - 255 / 5000 * 1000


def test_samples_that_are_no_number_are_black() -> None:
    assert tones(np.array([np.nan, 0.0, 1.0, np.inf]), GrayLook()).tolist() == [0, 0, 255, 255]


def test_tables_map_what_lies_beyond_their_ends_to_their_ends() -> None:
    modality = Table(10, np.array([0, 100, 4095], np.uint16), 12)
    look = GrayLook(modality, Table(0, np.linspace(0, 255, 4096).astype(np.uint16), 8))

    assert tones(np.array([0, 10, 11, 12, 99], np.uint16), look).tolist() == [0, 0, 6, 255, 255]


# Colour


def test_a_palette_counts_from_its_first_value_which_has_the_samples_sign() -> None:
    descriptor = Descriptor.of((3, 0xFFFF, 16), is_signed=True)
    entries = eight_bits(table(np.array([0, 0x7F00, 0xFF00], "<u2").tobytes(), descriptor, "<"), descriptor)
    shown = Palette(descriptor.first, np.stack([entries] * 3, -1)).mapped(np.array([[-9, -1, 0, 1, 9]], np.int16))

    assert shown[0, :, 0].tolist() == [0, 0, 127, 255, 255]
    assert Descriptor.of((0, 0, 8), is_signed=False).entries == 65536


@pytest.mark.parametrize("data", [bytes([1, 2, 3, 4]), np.array([1, 2, 3, 4], "<u2").tobytes()])
def test_entries_of_8_bits_lie_in_bytes_or_in_words(data: bytes) -> None:
    descriptor = Descriptor(4, 0, 8)

    assert eight_bits(table(data, descriptor, "<"), descriptor).tolist() == [1, 2, 3, 4]


def test_entries_of_16_bits_that_use_no_upper_byte_are_of_8() -> None:
    descriptor = Descriptor(2, 0, 16)

    assert eight_bits(np.array([7, 255], np.uint16), descriptor).tolist() == [7, 255]


@pytest.mark.parametrize(
    ("bits", "words", "wanted"),
    [
        (16, [0, 2, 5, 6, 1, 3, 12], [5, 6, 8, 10, 12]),
        (16, [0, 2, 5, 6, 1, 2, 10, 2, 1, 0, 0], [5, 6, 8, 10, 5, 6]),
        (8, [0, 2, 5, 6, 2, 1, 0, 0, 0, 0], [5, 6, 5, 6]),
    ],
)
def test_a_segmented_palette_is_that_of_ps3_3_c_7_9_2(bits: int, words: list[int], wanted: list[int]) -> None:
    data = np.array(words, f"<u{bits // 8}").tobytes()

    assert expanded(data, Descriptor(len(wanted), 0, bits), "<").tolist() == wanted


@given(st.binary(max_size=64), st.integers(1, 65536), st.sampled_from([8, 16]))
def test_no_segmented_palette_is_longer_than_it_says(data: bytes, entries: int, bits: int) -> None:
    try:
        found = expanded(data, Descriptor(entries, 0, bits), "<")
    except Rejected:
        return

    assert len(found) == entries


def test_an_indirect_segment_within_another_is_refused() -> None:
    with pytest.raises(Rejected, match="bad-palette"):
        expanded(np.array([2, 1, 0, 0], "<u2").tobytes(), Descriptor(9, 0, 16), "<")


@given(arrays(np.uint8, (2, 5, 3)))
def test_ybr_full_becomes_the_rgb_of_pydicom(samples: NDArray[np.uint8]) -> None:
    wanted = convert_color_space(samples, "YBR_FULL", "RGB").astype(int)

    assert abs(picture(Decoded(samples, "YBR_FULL"), Look(GrayLook()), PNG) - wanted).max() <= 1


def test_ybr_partial_goes_from_16_to_235() -> None:
    samples = np.array([[[16, 128, 128], [235, 128, 128]]], np.uint8)

    assert picture(Decoded(samples, "YBR_PARTIAL_420"), Look(GrayLook()), PNG).tolist() == [[[0] * 3, [255] * 3]]


def test_colours_that_are_not_known_are_refused() -> None:
    with pytest.raises(Rejected, match="unsupported-photometric"):
        picture(Decoded(np.zeros((1, 1, 3), np.uint8), "HSV"), Look(GrayLook()), PNG)


# Region and size

QUARTERS = np.array([[10, 80], [150, 240]], np.uint8).repeat(40, axis=0).repeat(60, axis=1)


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
def test_a_viewport_cuts_mirrors_and_fits(viewport: Viewport, size: tuple[int, int], corners: tuple[int, ...]) -> None:
    shown = opened(encoded(QUARTERS, Rendering("image/png", viewport=viewport)))

    assert (shown.shape[1], shown.shape[0]) == size
    assert (shown[0, 0], shown[0, -1], shown[-1, 0], shown[-1, -1]) == corners


def test_a_region_beside_the_image_is_refused() -> None:
    with pytest.raises(Rejected, match="empty-region"):
        encoded(QUARTERS, Rendering(viewport=Viewport(10, 10, 120, 0, 5, 5)))


@pytest.mark.parametrize(("aspect", "size"), [(2.0, (120, 160)), (0.5, (240, 80)), (1.0, (120, 80))])
def test_pixels_that_are_not_square_are_drawn_out(aspect: float, size: tuple[int, int]) -> None:
    shown = opened(encoded(QUARTERS, PNG, aspect))

    assert (shown.shape[1], shown.shape[0]) == size


def test_a_lower_quality_takes_fewer_bytes() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64), np.uint8)
    sizes = [len(encoded(noise, Rendering(quality=quality))) for quality in (1, 50, 100)]

    assert sizes == sorted(set(sizes))


# What a client may ask (PS3.18 8.3.5)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, Rendering()),
        ({"window": "40,400,linear"}, Rendering(window=Window(40, 400))),
        ({"window": "-40.5, 0.5 ,linear-exact"}, Rendering(window=Window(-40.5, 0.5, "LINEAR_EXACT"))),
        ({"window": "1e2,1,SIGMOID"}, Rendering(window=Window(100, 1, "SIGMOID"))),
        ({"viewport": "100,50"}, Rendering(viewport=Viewport(100, 50))),
        ({"viewport": "100,50,,,-20"}, Rendering(viewport=Viewport(100, 50, 0, 0, -20))),
        ({"viewport": "100,50,1.5,2,30,-40"}, Rendering(viewport=Viewport(100, 50, 1.5, 2, 30, -40))),
        ({"quality": "100"}, Rendering(quality=100)),
        ({"annotation": "patient", "iccprofile": "no", "accept": "image/png"}, Rendering()),
    ],
)
def test_parameters_are_read(query: dict[str, str], wanted: Rendering) -> None:
    assert parse_rendering(query.items(), "image/jpeg") == wanted


@pytest.mark.parametrize(
    "query",
    [
        *({"window": text} for text in ("", "40", "40,400", "a,400,linear", "40,0,linear", "40,0.5,linear", "1,2,3")),
        *(
            {"window": text}
            for text in ("nan,1,linear", "inf,1,linear", "40,400,linear,", "40,-1,sigmoid", "1e99999,1,linear")
        ),
        *(
            {"viewport": text}
            for text in ("", "10", "0,10", "10,-1", "1.5,1", "9999,1", "1,1,-1,0", "1,1,0,0,0,1", "1,1,1,1,1,1,1")
        ),
        *({"quality": text} for text in ("", "0", "101", "-1", "1.5", "a", "²")),
    ],
)
def test_parameters_that_make_no_sense_are_refused_without_their_value(query: dict[str, str]) -> None:
    with pytest.raises(BadQuery) as error:
        parse_rendering(query.items(), "image/jpeg")

    assert "takes" in str(error.value)
    assert not [value for value in query.values() if len(value) > 3 and value in str(error.value)]


def test_a_parameter_given_twice_is_refused() -> None:
    with pytest.raises(BadQuery, match="once"):
        parse_rendering([("quality", "1"), ("quality", "2")], "image/jpeg")


@given(st.dictionaries(st.sampled_from(["window", "viewport", "quality"]), st.text(max_size=40)))
def test_any_text_is_read_or_refused(query: dict[str, str]) -> None:
    try:
        found = parse_rendering(query.items(), "image/jpeg")
    except BadQuery:
        return

    job = RenderJob("1.2", 1, "native", found)
    assert unpack_job(pack_job(job), b"", b"") == job


def test_a_thumbnail_is_small_unless_another_size_is_asked() -> None:
    assert parse_thumbnail([], "image/jpeg", 128).viewport == Viewport(128, 128, only_shrinks=True)
    assert parse_thumbnail([("viewport", "32,16")], "image/jpeg", 128).viewport == Viewport(32, 16)
    with pytest.raises(BadQuery, match="thumbnail"):
        parse_thumbnail([("viewport", "32,16,0,0")], "image/jpeg", 128)


# Headers


def shown(number: int = 1, **elements: Any) -> list[int]:
    """Return the tones of a file of six samples from 0 to 5 a frame, and of what its header says beside."""
    job = job_of(part10(**elements), number)
    assert job
    return [int(tone) for tone in picture_of(job).reshape(-1)]


def item(**elements: Any) -> Dataset:
    found = Dataset()
    for keyword, value in elements.items():
        setattr(found, keyword, value)
    return found


def lut(*entries: int, bits: int = 8) -> list[Dataset]:
    found = item(LUTDescriptor=[len(entries), 0, bits])
    found.add_new("LUTData", "OW", np.array(entries, "<u2").tobytes())
    return [found]


FULL = [0, 51, 102, 153, 204, 255]
VOI = [item(WindowCenter="3", WindowWidth="6")]


@pytest.mark.parametrize(
    ("elements", "wanted"),
    [
        ({}, FULL),
        ({"PhotometricInterpretation": "MONOCHROME1"}, FULL[::-1]),
        ({"PresentationLUTShape": "INVERSE"}, FULL[::-1]),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, FULL[::-1]),
        ({"WindowCenter": "3", "WindowWidth": "6"}, FULL),
        ({"WindowCenter": ["3", "9"], "WindowWidth": ["2", "9"]}, [0, 0, 0, 255, 255, 255]),
        ({"WindowCenter": "3", "WindowWidth": "0"}, FULL),
        ({"WindowCenter": "3", "WindowWidth": "6", "VOILUTFunction": "LINEAR_EXACT"}, [0, 43, 85, 128, 170, 213]),
        (
            {"RescaleSlope": "10", "RescaleIntercept": "-10", "WindowCenter": "20", "WindowWidth": "2"},
            [0] * 3 + [255] * 3,
        ),
        ({"RescaleSlope": "-1", "RescaleIntercept": "0"}, FULL[::-1]),
        ({"PixelPaddingValue": 5}, [0, 64, 128, 191, 255, 0]),
        ({"PixelPaddingValue": 5, "PixelPaddingRangeLimit": 4}, [0, 85, 170, 255, 0, 0]),
        ({"VOILUTSequence": lut(255, 200, 150, 100, 50, 0)}, [255, 200, 150, 100, 50, 0]),
        ({"ModalityLUTSequence": lut(5, 4, 3, 2, 1, 0)}, FULL[::-1]),
        (
            {"ModalityLUTSequence": lut(5, 4, 3, 2, 1, 0), "SOPClassUID": "1.2.840.10008.5.1.4.1.1.12.1"},
            FULL,
        ),
        ({"SharedFunctionalGroupsSequence": [item(FrameVOILUTSequence=VOI)], "WindowCenter": "9"}, FULL),
    ],
)
def test_a_header_says_how_its_samples_look(elements: dict[str, Any], wanted: list[int]) -> None:
    assert shown(**elements) == pytest.approx(wanted, abs=1)


def test_each_frame_looks_as_its_own_groups_say() -> None:
    group = item(PixelValueTransformationSequence=[item(RescaleSlope="-1", RescaleIntercept="0")])
    elements = {"NumberOfFrames": 2, "PerFrameFunctionalGroupsSequence": [item(), group]}

    assert shown(1, **elements) == pytest.approx(FULL, abs=1)
    assert shown(2, **elements) == pytest.approx(FULL[::-1], abs=1)


def test_the_clients_window_goes_before_the_images_own() -> None:
    job = job_of(part10(WindowCenter="3", WindowWidth="6"), rendering=replace(PNG, window=Window(1, 1)))
    assert job

    assert picture_of(job).reshape(-1).tolist() == [0, 255, 255, 255, 255, 255]


@pytest.mark.parametrize(
    "elements",
    [{"Rows": 0}, {"BitsAllocated": 12}, {"BitsStored": 17}, {"SamplesPerPixel": 4}, {"HighBit": 3}, {"Columns": None}],
)
def test_a_description_that_makes_no_sense_is_refused(elements: dict[str, Any]) -> None:
    job = job_of(part10())
    assert job
    whole = part10(**elements)
    header = whole[: len(whole) - 12]

    with pytest.raises(Rejected, match="bad-image-description"):
        picture_of(replace(job, header=header))


# Real files

# What cannot be shown, and why; every other image of the corpus is.
REFUSED = {
    "odd/fuzz/cat04_pixel_data__TC0299_bits_bsstored_gt_ba.dcm": "bad-image-description",
    "odd/fuzz/cat04_pixel_data__TC0305_bits_ba_zero.dcm": "bad-image-description",
    "odd/fuzz/cat04_pixel_data__TC0311_bits_ba_nine.dcm": "bad-image-description",
    "synthetic/video_h264.dcm": "unsupported-transfer-syntax",
    # Its scan header is no sequential one's.
    "ts/pydicom/JPEG-lossy.dcm": "undecodable-frame",
    # Its code stream is cut short by bytes that look like a delimiter.
    "ts/pydicom/JPEG2000-embedded-sequence-delimiter.dcm": "undecodable-frame",
    # 27 bytes in words of two: the last sample lies behind the frame's own bytes.
    "ts/pydicom/SC_rgb_small_odd_big_endian.dcm": "undecodable-frame",
}
RENDERED = 446
COMPARED = 340


def test_every_image_of_the_corpus_is_shown_or_refused_for_a_known_reason(corpus: Path) -> None:
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
def test_images_look_as_pydicom_would_show_them(corpus: Path) -> None:
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
    """Return a file's first frame as pydicom's own functions show it; None where they do not say."""
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
    """Return shares of white; pydicom's window gives values between the ends of what can be stored."""
    shown = apply_voi_lut(values, dataset)
    if dataset.get("VOILUTSequence"):
        return np.asarray(shown / (2 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1))
    if "ModalityLUTSequence" in dataset:
        return np.asarray(shown / (2 ** dataset.ModalityLUTSequence[0].LUTDescriptor[2] - 1))
    half = 2 ** (dataset.BitsStored - 1) * dataset.PixelRepresentation
    ends = np.array([-half, 2**dataset.BitsStored - 1 - half])
    low, high = apply_modality_lut(ends, dataset)
    return np.asarray((shown - low) / (high - low))
