"""How the header says to display one frame of an image: gray transformation, palette, pixel aspect ratio.

Source: PS3.3 C.11 (look-up tables), C.7.6.16 (functional groups).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom import Dataset

from operators.errors import Rejected
from operators.imaging.gray import GrayTransform, LookUpTable, Rescale, Window
from operators.imaging.header import COLOURS, ImageHeader
from operators.imaging.palette import (
    Palette,
    PaletteDescriptor,
    eight_bit_entries,
    plain_entries,
    segmented_entries,
    signed_first,
)
from operators.imaging.pixels import BYTE, PixelDescription, stored_range
from operators.imaging.reasons import BAD_PALETTE
from operators.imaging.values import integer_of, items_of, number_of, numbers_of, text_of, value_of

# Without a window, samples of at most this many bits are displayed over the whole range of their type, longer samples
# over the range of values in the frame.
WHOLE_RANGE_BITS = 8
EIGHT_BITS = (0, 255)
# The lowest and the highest credible pixel aspect ratio; others are taken for mistakes.
ASPECTS = (0.1, 10.0)

# X-Ray Angiographic (also biplane) and X-Ray Radiofluoroscopic Image Storage: their Modality LUT restores linear
# intensities, but their window applies to stored values (PS3.3 C.8.7.1.1.2).
SHOWN_AS_STORED = frozenset(f"1.2.840.10008.5.1.4.1.1.12.{number}" for number in (1, 2, 3))


@dataclass(frozen=True)
class DisplayParameters:
    """How one frame's samples are displayed.

    Gray samples are transformed by `palette` if there is a palette, else by `gray`. Colour samples are scaled from
    `colour_range`, the lowest and the highest value that they can have. `aspect` is a pixel's height divided by its
    width.
    """

    gray: GrayTransform
    palette: Palette | None = None
    colour_range: tuple[int, int] = EIGHT_BITS
    aspect: float = 1.0


def display_parameters(image: ImageHeader, description: PixelDescription, number: int) -> DisplayParameters:
    """Return how frame `number`, counted from 1, is displayed; raises Rejected(BAD_PALETTE)."""
    groups = tuple(_groups(image.data_set, number))
    is_monochrome1 = description.photometric_interpretation == "MONOCHROME1"
    gray = GrayTransform(
        modality=_modality(image, groups, description),
        voi=_voi(image, groups, description),
        is_inverse=is_monochrome1 or text_of(image.data_set, "PresentationLUTShape", "") == "INVERSE",
        padding=_padding(image.data_set, description),
        whole_range=_whole_range(description),
    )
    palette = _palette(image, description) if description.photometric_interpretation == "PALETTE COLOR" else None
    return DisplayParameters(gray, palette, stored_range(description), _aspect(image.data_set))


def _groups(data_set: Dataset, number: int) -> Iterable[Dataset]:
    """Yield the places of a frame's attributes, the nearest first: its own groups, the shared groups, the data set."""
    for keyword, index in (("PerFrameFunctionalGroupsSequence", number - 1), ("SharedFunctionalGroupsSequence", 0)):
        items = items_of(data_set, keyword)
        if index < len(items):
            yield items[index]
    yield data_set


def _nearest(groups: Iterable[Dataset], sequence: str, keyword: str) -> Dataset | None:
    """Return the nearest item with a value for `keyword`: in `sequence` of a group, or the group itself."""
    for group in groups:
        for item in (*items_of(group, sequence)[:1], group):
            if value_of(item, keyword) is not None:
                return item
    return None


def _modality(image: ImageHeader, groups: Iterable[Dataset], description: PixelDescription) -> Rescale | LookUpTable:
    if is_shown_as_stored(image.data_set):
        return Rescale()
    for item in items_of(image.data_set, "ModalityLUTSequence")[:1]:
        if found := _look_up_table(item, image.order, is_signed=description.is_signed):
            return found
    group = _nearest(groups, "PixelValueTransformationSequence", "RescaleSlope")
    if group is None:
        return Rescale()
    slope = number_of(group, "RescaleSlope", 1.0)
    return Rescale(slope or 1.0, number_of(group, "RescaleIntercept", 0.0))


def is_shown_as_stored(data_set: Dataset) -> bool:
    """True if stored values are windowed without the modality transformation."""
    return text_of(data_set, "SOPClassUID", "") in SHOWN_AS_STORED


def _voi(image: ImageHeader, groups: Iterable[Dataset], description: PixelDescription) -> Window | LookUpTable | None:
    """Return the first VOI LUT if it is usable, else the first window if usable (alternatives: PS3.3 C.11.2.1)."""
    for item in items_of(image.data_set, "VOILUTSequence")[:1]:
        if found := _look_up_table(item, image.order, is_signed=description.is_signed):
            return found
    group = _nearest(groups, "FrameVOILUTSequence", "WindowCenter")
    if group is None:
        return None
    function = text_of(group, "VOILUTFunction", "LINEAR")
    window = Window(number_of(group, "WindowCenter", np.nan), number_of(group, "WindowWidth", np.nan), function)
    return window if window.is_usable else None


def _look_up_table(item: Dataset, order: str, *, is_signed: bool) -> LookUpTable | None:
    """Return a Modality or VOI LUT from its descriptor and data (PS3.3 C.11.1.1, C.11.2.1.1); None if unusable."""
    numbers, data = numbers_of(item, "LUTDescriptor"), value_of(item, "LUTData")
    if len(numbers) != len(("entries", "first", "bits")) or data is None:
        return None
    entries, first, bits = (int(number) & 0xFFFF for number in numbers)
    values = _words(data, order)[: entries or 1 << 16]
    if not len(values) or not 1 <= bits <= 2 * BYTE:
        return None
    return LookUpTable(signed_first(first, is_signed=is_signed), values, bits)


def _words(data: Any, order: str) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Return 16-bit entries; pydicom reads them as bytes (OW) or as numbers (US, SS)."""
    if isinstance(data, bytes):
        return np.frombuffer(data[: len(data) // 2 * 2], f"{order}u2").astype(np.uint16)
    numbers = data if isinstance(data, Iterable) else [data]
    return np.array([int(number) & 0xFFFF for number in numbers], np.uint16)


def _palette(image: ImageHeader, description: PixelDescription) -> Palette:
    """Return the palette from its three tables; raises Rejected(BAD_PALETTE)."""
    columns, first = [], 0
    for colour in COLOURS:
        numbers = numbers_of(image.data_set, f"{colour}PaletteColorLookupTableDescriptor")
        descriptor = PaletteDescriptor.of([int(number) for number in numbers], is_signed=description.is_signed)
        segmented = value_of(image.data_set, f"Segmented{colour}PaletteColorLookupTableData")
        plain = value_of(image.data_set, f"{colour}PaletteColorLookupTableData")
        read = plain_entries if segmented is None else segmented_entries
        data = plain if segmented is None else segmented
        columns.append(eight_bit_entries(read(_bytes(data, image.order), descriptor, image.order), descriptor))
        first = descriptor.first
    if len({len(column) for column in columns}) != 1:
        raise Rejected(BAD_PALETTE)
    return Palette(first, np.stack(columns, axis=-1))


def _bytes(data: Any, order: str) -> bytes:
    if data is None or isinstance(data, bytes):
        return data or b""
    return _words(data, order).astype(f"{order}u2").tobytes()


def _padding(data_set: Dataset, description: PixelDescription) -> tuple[float, float] | None:
    """Return the lowest and the highest padding value; None without padding (PS3.3 C.7.5.1.1.2)."""
    value = value_of(data_set, "PixelPaddingValue")
    if value is None or isinstance(value, bytes):
        return None
    padding = integer_of(data_set, "PixelPaddingValue", 0)
    has_limit = value_of(data_set, "PixelPaddingRangeLimit") is not None
    limit = integer_of(data_set, "PixelPaddingRangeLimit", 0) if has_limit else padding
    low, high = sorted(_as_sample(end, description) for end in (padding, limit))
    return float(low), float(high)


def _as_sample(value: int, description: PixelDescription) -> int:
    """Return a 16-bit value, signed if the samples are signed, whether its own VR is US or SS."""
    value &= 0xFFFF
    return value - (1 << 16) if description.is_signed and value >= 1 << 15 else value


def _whole_range(description: PixelDescription) -> tuple[int, int] | None:
    return None if description.is_float or description.bits_stored > WHOLE_RANGE_BITS else stored_range(description)


def _aspect(data_set: Dataset) -> float:
    """Return a pixel's height divided by its width (PS3.3 C.7.6.3.1.7); 1 when it is missing or outside ASPECTS."""
    numbers = numbers_of(data_set, "PixelAspectRatio")
    if len(numbers) != len(("vertical", "horizontal")) or min(numbers) <= 0:
        return 1.0
    aspect = numbers[0] / numbers[1]
    return aspect if ASPECTS[0] <= aspect <= ASPECTS[1] else 1.0
