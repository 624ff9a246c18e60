"""Tables, windows and functional groups display an image alike, however they are written (CONFORMANCE.md, rendered)."""

import random
import struct
from typing import Any

import numpy as np
import pytest

from operators.dicom.transfer_syntaxes import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    transfer_syntax_of,
)
from tests.support.data.render_jobs import job_of, picture_of
from tests.support.data.sent_images import CT, described, native_image, sequence_item

SYNTAXES = (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN)
SEEDS = range(15)
SIDE = 16
Numbers = np.ndarray[Any, Any]


def shown(whole: bytes, number: int = 1) -> Numbers:
    """Return the pixels of a frame's picture, as numbers that can be subtracted."""
    job = job_of(whole, number)
    assert job
    return picture_of(job).astype(int)


def samples(seed: int) -> tuple[dict[str, Any], Numbers]:
    """Return the attributes and the samples of an image of 12 or 16 bits, signed or not."""
    chosen = random.Random(seed)
    stored, sign = chosen.choice([12, 16]), chosen.choice([0, 1])
    low = -(1 << stored - 1) if sign else 0
    values = low + np.arange(SIDE * SIDE) * ((1 << stored) - 1) // (SIDE * SIDE - 1)
    return described(
        SIDE, SIDE, BitsAllocated=16, BitsStored=stored, HighBit=stored - 1, PixelRepresentation=sign
    ), values.reshape(SIDE, SIDE)


def image_of(values: Numbers, syntax: str, **elements: Any) -> bytes:
    """Return a file with these samples, in the byte order of the syntax."""
    order = ">" if transfer_syntax_of(syntax).is_big_endian else "<"
    return native_image(values.astype(f"{order}i2").tobytes(), syntax, **elements)


def table(seed: int, syntax: str, inputs: tuple[int, int], prefix: str = "LUT") -> tuple[dict[str, Any], Numbers, int]:
    """Return a table's descriptor and data in one of its spellings, its entries from 0 to 255, and its first value."""
    chosen = random.Random(seed)
    low, high = inputs
    count = chosen.choice([2, 3, 100, 255, 256, 1024, 4096])
    first = chosen.randint(max(low, -(1 << 15)), min(high, (1 << 15) - 1))
    bits = chosen.choice([8, 16] if prefix != "LUT" else [8, 8, 8, 10, 12, 16])
    tones = np.array([chosen.randrange(256) for _ in range(count)])
    entries = tones * ((1 << bits) - 1) // 255
    # SS where the value is negative, but many writers say US.
    vr = chosen.choice(["SS", "US"]) if low < 0 else "US"
    words = packed(entries) if bits == 8 and chosen.choice([True, False]) else entries
    order = ">" if transfer_syntax_of(syntax).is_big_endian else "<"
    data = words.astype(f"{order}u2").tobytes()
    descriptor = [count, first if vr == "SS" else first & 0xFFFF, bits]
    return {f"{prefix}Descriptor": (vr, descriptor), f"{prefix}Data": ("OW", data)}, tones, first


def packed(entries: Numbers) -> Numbers:
    """Return 8-bit entries two in a word, the first in its lower byte."""
    whole = bytes(int(entry) for entry in entries) + bytes(len(entries) % 2)
    return np.frombuffer(whole, "<u2")


def through(entries: Numbers, first: int, values: Numbers) -> Numbers:
    return np.asarray(entries[np.clip(values - first, 0, len(entries) - 1)])


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_voi_lut_maps_rescaled_values_whatever_its_spelling(seed: int, syntax: str) -> None:
    attributes, values = samples(seed)
    intercept = random.Random(seed).choice([0, -512, -1024])
    inputs = (int(values.min()) + intercept, int(values.max()) + intercept)
    elements, tones, first = table(seed, syntax, inputs)
    rescale = {"RescaleSlope": "1", "RescaleIntercept": str(intercept)}
    sent = image_of(values, syntax, VOILUTSequence=[sequence_item(**elements)], SOPClassUID=CT, **attributes, **rescale)

    assert abs(shown(sent) - through(tones, first, values + intercept)).max() <= 1


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_modality_lut_maps_samples_whatever_its_spelling(seed: int, syntax: str) -> None:
    attributes, values = samples(seed)
    elements, tones, first = table(seed, syntax, (int(values.min()), int(values.max())))
    white = (1 << elements["LUTDescriptor"][1][2]) - 1
    window = {"WindowCenter": str(white / 2), "WindowWidth": str(white), "VOILUTFunction": "LINEAR_EXACT"}
    sent = image_of(values, syntax, ModalityLUTSequence=[sequence_item(**elements)], **attributes, **window)

    assert abs(shown(sent) - through(tones, first, values)).max() <= 1


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_palette_maps_samples_whatever_its_spelling(seed: int, syntax: str) -> None:
    attributes, values = samples(seed)
    attributes |= {"PhotometricInterpretation": "PALETTE COLOR"}
    inputs, wanted = (int(values.min()), int(values.max())), []
    for colour in ("Red", "Green", "Blue"):
        # The same descriptor for all: its spelling is drawn from the same seed.
        elements, tones, first = table(seed, syntax, inputs, f"{colour}PaletteColorLookupTable")
        attributes |= elements
        wanted.append(through(tones, first, values))

    assert abs(shown(image_of(values, syntax, **attributes)) - np.stack(wanted, -1)).max() <= 1


@pytest.mark.parametrize("bits", [8, 10, 16])
def test_a_voi_lut_of_bytes_is_read_by_its_length_though_its_descriptor_says_more_bits(bits: int) -> None:
    attributes, values = samples(1)
    inverse = packed(np.arange(255, -1, -1)).tobytes()
    first = int(values.min())
    elements = {"LUTDescriptor": ("SS" if first < 0 else "US", [256, first, bits]), "LUTData": ("OW", inverse)}
    sent = image_of(values, EXPLICIT_VR_LITTLE_ENDIAN, VOILUTSequence=[sequence_item(**elements)], **attributes)

    assert abs(shown(sent) - np.clip(255 - (values - first), 0, 255)).max() <= 1


# Center, width, function: the tones of the samples 0, 50, 100, 150, 200, 250. WHOLE is what no window gives.
WHOLE = [0, 50, 100, 150, 200, 250]
STEEP = [0, 0, 128, 255, 255, 255]
WINDOWS: dict[str, tuple[Any, Any, str, list[int]]] = {
    "a window": ("100.5", "101", "LINEAR", STEEP),
    "spaces around the numbers": (" 100.5 ", " 101 ", "LINEAR", STEEP),
    "an exponent": ("1.005E2", "+1.01e+02", "LINEAR", STEEP),
    "a decimal comma": ("100,5", "101,0", "LINEAR", STEEP),
    "several windows": ("100.5\\0\\9", "101\\1\\9", "LINEAR", STEEP),
    "more centers than widths": ("100.5\\7", "101", "LINEAR", STEEP),
    "a first center that is no number": ("NaN\\100.5", "101\\101", "LINEAR", STEEP),
    "a first width that is infinite": ("7\\100.5", "inf\\101", "LINEAR", STEEP),
    "a first width of zero": ("7\\100.5", "0\\101", "LINEAR", STEEP),
    "an empty first window": ("\\100.5", "\\101", "LINEAR", STEEP),
    "only NaN": ("NaN", "101", "LINEAR", WHOLE),
    "only infinity": ("100.5", "Infinity", "LINEAR", WHOLE),
    "a number that no double holds": ("1e999", "101", "LINEAR", WHOLE),
    "two commas": ("1,00,5", "101", "LINEAR", WHOLE),
    "a word": ("AUTO", "AUTO", "LINEAR", WHOLE),
    "a width of zero": ("100.5", "0", "LINEAR", WHOLE),
    "a negative width": ("100.5", "-101", "LINEAR", WHOLE),
    "less than the least width of LINEAR": ("100.5", "0.5", "LINEAR", WHOLE),
    "a narrow LINEAR_EXACT": ("100", "0.5", "LINEAR_EXACT", STEEP),
    "a width without a center": ("", "101", "LINEAR", WHOLE),
    "an unknown function": ("100.5", "101", "CUBIC", WHOLE),
}


@pytest.mark.parametrize("claim", WINDOWS)
def test_the_first_usable_window_is_used_and_without_one_the_whole_range(claim: str) -> None:
    center, width, function, wanted = WINDOWS[claim]
    pixels = bytes(WHOLE)
    elements = described(1, 6, VOILUTFunction=function)
    numbers = b"".join(
        struct.pack("<HH2sH", 0x0028, element, b"DS", len(text) + len(text) % 2)
        + text.encode().ljust(len(text) + len(text) % 2)
        for element, text in ((0x1050, center), (0x1051, width))
    )
    whole = native_image(pixels, **elements)
    # Behind Pixel Representation: pydicom does not write such numbers.
    at = whole.index(b"\x28\x00\x03\x01US") + 10

    assert shown(whole[:at] + numbers + whole[at:]).reshape(-1).tolist() == pytest.approx(wanted, abs=1)


@pytest.mark.parametrize(
    ("rescale", "wanted"),
    [
        ({"RescaleSlope": "2", "RescaleIntercept": "0"}, [0, 128, 255, 255, 255, 255]),
        ({"RescaleIntercept": "50"}, [0, 128, 255, 255, 255, 255]),
        ({"RescaleSlope": "2"}, [0, 128, 255, 255, 255, 255]),
        ({"RescaleSlope": "0", "RescaleIntercept": "50"}, STEEP),
        ({"RescaleSlope": "2", "RescaleIntercept": ("UC", "none")}, STEEP),
    ],
)
def test_a_rescale_counts_as_a_whole_or_not_at_all(rescale: dict[str, Any], wanted: list[int]) -> None:
    attributes = described(1, 6, WindowCenter="100.5", WindowWidth="101", **rescale)

    assert shown(native_image(bytes(WHOLE), **attributes)).reshape(-1).tolist() == pytest.approx(wanted, abs=2)


GROUPS = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence", "")
INVERSE = {"LUTDescriptor": ("US", [256, 0, 8]), "LUTData": ("OW", bytes(range(255, -1, -1)))}
# What decides, and the tones of WHOLE that it makes of a frame.
DECIDERS: dict[str, tuple[str, dict[str, Any], list[int]]] = {
    "a window": ("FrameVOILUTSequence", {"WindowCenter": "100.5", "WindowWidth": "101"}, STEEP),
    "a VOI LUT": ("FrameVOILUTSequence", {"VOILUTSequence": [INVERSE]}, [255 - tone for tone in WHOLE]),
    "a rescale": (
        "PixelValueTransformationSequence",
        {"RescaleSlope": "-1", "RescaleIntercept": "255"},
        [255 - tone for tone in WHOLE],
    ),
    "a Modality LUT": (
        "PixelValueTransformationSequence",
        {"ModalityLUTSequence": [INVERSE]},
        [255 - tone for tone in WHOLE],
    ),
}
OTHERS = {
    "FrameVOILUTSequence": {"WindowCenter": "10", "WindowWidth": "2"},
    "PixelValueTransformationSequence": {"RescaleSlope": "1000", "RescaleIntercept": "-9"},
}


def built(elements: dict[str, Any]) -> dict[str, Any]:
    """Return elements with each item of a sequence made."""
    return {
        keyword: [sequence_item(**one) for one in value] if isinstance(value, list) else value
        for keyword, value in elements.items()
    }


@pytest.mark.parametrize("place", GROUPS)
@pytest.mark.parametrize("decider", DECIDERS)
def test_a_frames_own_groups_decide_before_the_shared_ones_and_these_before_the_data_set(
    decider: str, place: str
) -> None:
    sequence, elements, wanted = DECIDERS[decider]
    attributes = described(1, 6, NumberOfFrames=2)
    for group in GROUPS[GROUPS.index(place) :]:
        decides = built(elements if group == place else OTHERS[sequence])
        if not group:
            attributes |= decides
            continue
        own = sequence_item(**{sequence: [sequence_item(**decides)]})
        attributes[group] = [sequence_item(), own] if group.startswith("PerFrame") else [own]
    # A whole range that no modality transformation changes.
    window = {"WindowCenter": "127.5", "WindowWidth": "255", "VOILUTFunction": "LINEAR_EXACT"}
    attributes |= window if sequence.startswith("Pixel") else {}
    sent = native_image(bytes(WHOLE) * 2, **attributes)

    assert shown(sent, 2).reshape(-1).tolist() == pytest.approx(wanted, abs=1)


def test_a_window_of_a_frame_that_is_not_usable_leaves_the_choice_to_the_next_place() -> None:
    unusable = sequence_item(FrameVOILUTSequence=[sequence_item(WindowCenter="1", WindowWidth="0")])
    usable = sequence_item(FrameVOILUTSequence=[sequence_item(WindowCenter="100.5", WindowWidth="101")])
    groups = {"PerFrameFunctionalGroupsSequence": [unusable], "SharedFunctionalGroupsSequence": [usable]}
    sent = native_image(bytes(WHOLE), **described(1, 6, **groups))

    assert shown(sent).reshape(-1).tolist() == pytest.approx(STEEP, abs=1)
