"""How the header says to display one frame of an image: gray transformation, palette, pixel aspect ratio.

Source: PS3.3 C.11 (look-up tables), C.7.6.16 (functional groups).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from pydicom import Dataset

from operators.errors import Rejected
from operators.imaging.decoding.pixels import PixelDescription, stored_range
from operators.imaging.gray import GrayTransform, LookUpTable, Rescale, Window
from operators.imaging.header import COLOURS, ImageHeader
from operators.imaging.palette import Palette, palette_column
from operators.imaging.reasons import BAD_PALETTE
from operators.imaging.tables import plain_entries, read_descriptor, table_bytes
from operators.imaging.values import items_of, number_of, numbers_of, text_of

# The lowest and the highest value.
Range = tuple[float, float]
Voi = Window | LookUpTable
Found = TypeVar("Found")

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
    samples = (-np.inf, np.inf) if description.is_float else stored_range(description)
    modality = Rescale() if is_shown_as_stored(image.data_set) else _modality(groups, samples)
    gray = GrayTransform(
        modality=modality,
        voi=_voi(groups, modality.outputs(samples)),
        is_inverse=is_monochrome1 or text_of(image.data_set, "PresentationLUTShape", "") == "INVERSE",
        padding=_padding(image.data_set, description),
        whole_range=_whole_range(description),
    )
    is_palette = description.photometric_interpretation == "PALETTE COLOR"
    palette = _palette(image.data_set, stored_range(description)) if is_palette else None
    return DisplayParameters(gray, palette, stored_range(description), _aspect(image.data_set))


def _groups(data_set: Dataset, number: int) -> Iterable[Dataset]:
    """Yield the places of a frame's attributes, the nearest first: its own groups, the shared groups, the data set."""
    for keyword, index in (("PerFrameFunctionalGroupsSequence", number - 1), ("SharedFunctionalGroupsSequence", 0)):
        items = items_of(data_set, keyword)
        if index < len(items):
            yield items[index]
    yield data_set


def _nearest(groups: Iterable[Dataset], sequence: str, read: Callable[[Dataset], Found]) -> Found | None:
    """Return what is read at the nearest place where it can be: in `sequence` of a group, or in the group itself."""
    places = (place for group in groups for place in (*items_of(group, sequence)[:1], group))
    return next((found for place in places if (found := read(place)) is not None), None)


def _modality(groups: Iterable[Dataset], samples: Range) -> Rescale | LookUpTable:
    """Return the nearest Modality LUT or rescale; of both in one place the table (PS3.3 C.11.1)."""

    def read(place: Dataset) -> Rescale | LookUpTable | None:
        return _table(place, "ModalityLUTSequence", samples) or _rescale(place)

    return _nearest(groups, "PixelValueTransformationSequence", read) or Rescale()


def _rescale(place: Dataset) -> Rescale | None:
    """Return a rescale; the number that it lacks is 1 or 0. None if a number cannot be read, or the slope is 0."""
    slope, intercept = numbers_of(place, "RescaleSlope")[:1], numbers_of(place, "RescaleIntercept")[:1]
    if not (slope or intercept) or not np.isfinite(slope + intercept).all() or slope == [0.0]:
        return None
    return Rescale(*(slope or [1.0]), *(intercept or [0.0]))


def is_shown_as_stored(data_set: Dataset) -> bool:
    """True if stored values are windowed without the modality transformation."""
    return text_of(data_set, "SOPClassUID", "") in SHOWN_AS_STORED


def _voi(groups: Iterable[Dataset], inputs: Range) -> Voi | None:
    """Return the nearest usable VOI LUT or window; of both in one place the table (alternatives: PS3.3 C.11.2.1)."""

    def read(place: Dataset) -> Voi | None:
        return _table(place, "VOILUTSequence", inputs) or _window(place)

    return _nearest(groups, "FrameVOILUTSequence", read)


def _window(place: Dataset) -> Window | None:
    """Return the first usable window of several."""
    function = text_of(place, "VOILUTFunction", "LINEAR")
    pairs = zip(numbers_of(place, "WindowCenter"), numbers_of(place, "WindowWidth"), strict=False)
    windows = (Window(center, width, function) for center, width in pairs)
    return next((window for window in windows if window.is_usable), None)


def _table(place: Dataset, sequence: str, inputs: Range) -> LookUpTable | None:
    """Return the first usable Modality or VOI LUT of several."""
    for item in items_of(place, sequence):
        descriptor = read_descriptor(item, "LUTDescriptor", inputs)
        if descriptor is None:
            continue
        descriptor, entries = plain_entries(table_bytes(item, "LUTData"), descriptor)
        if len(entries):
            return LookUpTable(descriptor.first, entries, descriptor.bits)
    return None


def _palette(data_set: Dataset, samples: Range) -> Palette:
    """Return the palette from its three tables; raises Rejected(BAD_PALETTE)."""
    columns, first = [], 0
    for colour in COLOURS:
        descriptor = read_descriptor(data_set, f"{colour}PaletteColorLookupTableDescriptor", samples)
        if descriptor is None:
            raise Rejected(BAD_PALETTE)
        segmented = table_bytes(data_set, f"Segmented{colour}PaletteColorLookupTableData")
        plain = table_bytes(data_set, f"{colour}PaletteColorLookupTableData")
        columns.append(palette_column(plain, segmented, descriptor))
        first = descriptor.first
    if len({len(column) for column in columns}) != 1:
        raise Rejected(BAD_PALETTE)
    return Palette(first, np.stack(columns, axis=-1))


def _padding(data_set: Dataset, description: PixelDescription) -> tuple[float, float] | None:
    """Return the lowest and the highest padding value; None without padding (PS3.3 C.7.5.1.1.2)."""
    padding = number_of(data_set, "PixelPaddingValue", np.nan)
    if np.isnan(padding):
        return None
    limit = number_of(data_set, "PixelPaddingRangeLimit", padding)
    low, high = sorted(_as_sample(int(end), description) for end in (padding, limit))
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
    if len(numbers) != len(("vertical", "horizontal")) or not min(numbers) > 0:
        return 1.0
    aspect = numbers[0] / numbers[1]
    return aspect if ASPECTS[0] <= aspect <= ASPECTS[1] else 1.0
