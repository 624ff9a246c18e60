"""What an image's header says of its samples and of how they are shown, for one of its frames.

The header comes from anyone: a value that cannot be read counts as absent, and what cannot be done without is Rejected.
Source: PS3.3 C.7.6.3 (pixels), C.11 (look-up tables), C.7.6.16 (functional groups).
"""

import struct
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_dataset
from pydicom.tag import Tag

from operators.dicom.scan import DOUBLE_FLOAT_PIXEL_DATA, FLOAT_PIXEL_DATA, IMPLICIT_VR_LITTLE_ENDIAN, Header, scan
from operators.errors import Rejected
from operators.imaging.gray import GrayLook, Rescale, Table, Window
from operators.imaging.palette import Descriptor, Palette, eight_bits, expanded, table
from operators.imaging.pixels import BIT, BYTE, PixelDescription
from operators.imaging.reasons import BAD_DESCRIPTION, BAD_PALETTE, NO_PIXELS

COLOURS = ("Red", "Green", "Blue")
WHOLE_BITS = (BYTE, 2 * BYTE, 4 * BYTE, 8 * BYTE)
# PS3.3 C.8.17, C.11: values of more bits than these are shown from their least to their most.
SHORT_BITS = 8
RATIOS = (0.1, 10.0)

# X-Ray Angiographic, also biplane, and X-Ray Radiofluoroscopic Image Storage: PS3.3 C.8.7.1.1.2 has a Modality LUT lead
# back to linear intensities, while the window is one of stored values.
SHOWN_AS_STORED = frozenset(f"1.2.840.10008.5.1.4.1.1.12.{number}" for number in (1, 2, 3))
# Everything that decides how an image looks, and the character set without which pydicom reads no item.
ATTRIBUTES = (
    *(
        "SpecificCharacterSet",
        "SOPClassUID",
        "PixelIntensityRelationship",
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "Rows",
        "Columns",
    ),
    *("PixelAspectRatio", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue"),
    *("PixelPaddingRangeLimit", "WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleIntercept", "RescaleSlope"),
    *("ModalityLUTSequence", "VOILUTSequence", "PresentationLUTShape", "NumberOfFrames"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in COLOURS),
    *(f"{colour}PaletteColorLookupTableData" for colour in COLOURS),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in COLOURS),
)
TAGS = [Tag(keyword) for keyword in ATTRIBUTES]
SEQUENCES = [tag for keyword, tag in zip(ATTRIBUTES, TAGS, strict=True) if keyword.endswith("Sequence")]


@dataclass(frozen=True)
class Look:
    """How one frame's samples are shown; colour samples have so many bits, `aspect` is a pixel's height over its width."""

    gray: GrayLook
    palette: Palette | None = None
    colour_bits: int = SHORT_BITS
    aspect: float = 1.0


@dataclass(frozen=True)
class Image:
    """A header's word on the pixels: the data set's attributes, where the pixel element's value begins, its tag."""

    data_set: Dataset
    pixel_tag: int
    pixel_vr: str
    order: str


def read_image(header: bytes, prefix_length: int, transfer_syntax: str) -> Image:
    """Read what an object's beginning, up to its pixel element and that element's own header, says.

    Raises Rejected(NO_PIXELS or BAD_DESCRIPTION), and what scan() raises.
    """
    found = scan(memoryview(header)[prefix_length:], transfer_syntax, frozenset(TAGS))
    if found.pixels is None:
        raise Rejected(NO_PIXELS)
    is_open = any(struct.pack(f"{found.order}HH", tag >> 16, tag & 0xFFFF) in header for tag in SEQUENCES)
    data_set = _parsed(found, transfer_syntax) if is_open else _scanned(found)
    return Image(data_set, found.pixels.tag, found.pixels.vr or "OW", found.order)


def _scanned(found: Header) -> Dataset:
    """Return the attributes where a scan found them: a tenth of the time of parsing them all."""
    is_little = found.order == "<"
    return Dataset(
        {
            Tag(tag): RawDataElement(
                Tag(tag), vr or None, length, found.raw(tag), start, is_implicit_VR=not vr, is_little_endian=is_little
            )
            for tag, (vr, start, length) in found.values.items()
        }
    )


def _parsed(found: Header, transfer_syntax: str) -> Dataset:
    """Return the attributes as pydicom finds them: a sequence of undefined length is none of a scan's values."""
    is_implicit = transfer_syntax == IMPLICIT_VR_LITTLE_ENDIAN
    source = BytesIO(bytes(found.data[: found.end]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read_dataset(source, is_implicit, found.order == "<", specific_tags=TAGS)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - pydicom raises many kinds on foreign bytes
            raise Rejected(BAD_DESCRIPTION) from None


def describe(image: Image) -> PixelDescription:
    """Return the description of the samples; raises Rejected(BAD_DESCRIPTION) when it makes no sense."""
    data_set, is_float = image.data_set, image.pixel_tag in (FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA)
    allocated = 8 * BYTE if image.pixel_tag == DOUBLE_FLOAT_PIXEL_DATA else _number(data_set, "BitsAllocated", 0)
    stored = allocated if is_float else _number(data_set, "BitsStored", allocated)
    description = PixelDescription(
        rows=_number(data_set, "Rows", 0),
        columns=_number(data_set, "Columns", 0),
        samples=_number(data_set, "SamplesPerPixel", 1),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=_number(data_set, "HighBit", stored - 1),
        is_signed=_number(data_set, "PixelRepresentation", 0) == 1,
        photometric_interpretation=_text(data_set, "PhotometricInterpretation", "MONOCHROME2"),
        planar_configuration=_number(data_set, "PlanarConfiguration", 0),
        is_float=is_float,
        is_word=image.pixel_vr == "OW",
    )
    if not _makes_sense(description):
        raise Rejected(BAD_DESCRIPTION)
    return description


def _makes_sense(one: PixelDescription) -> bool:
    if one.is_float and one.bits_allocated not in WHOLE_BITS[2:]:
        return False
    is_whole = one.bits_allocated in WHOLE_BITS or one.bits_allocated == BIT
    is_inside = 0 < one.bits_stored <= one.high_bit + 1 <= one.bits_allocated
    is_there = 0 < one.rows <= 0xFFFF and 0 < one.columns <= 0xFFFF  # noqa: PLR2004 (VR US)
    return is_there and is_whole and is_inside and one.samples in (1, len(COLOURS))


def look_of(image: Image, description: PixelDescription, number: int) -> Look:
    """Return how a frame is shown; the first frame is number 1."""
    groups = tuple(_groups(image.data_set, number))
    gray = GrayLook(
        modality=_modality(image, groups, description),
        voi=_voi(image, groups, description),
        is_inverse=description.photometric_interpretation == "MONOCHROME1"
        or _text(image.data_set, "PresentationLUTShape", "") == "INVERSE",
        padding=_padding(image.data_set, description),
        whole_range=_whole_range(description),
    )
    palette = _palette(image, description) if description.photometric_interpretation == "PALETTE COLOR" else None
    return Look(gray, palette, description.bits_stored, _aspect(image.data_set))


def _groups(data_set: Dataset, number: int) -> Iterable[Dataset]:
    """Return where a frame's attributes may lie, the nearest first: its own groups, the shared ones, the data set."""
    for keyword, at in (("PerFrameFunctionalGroupsSequence", number - 1), ("SharedFunctionalGroupsSequence", 0)):
        items = _items(data_set, keyword)
        if at < len(items):
            yield items[at]
    yield data_set


def _grouped(groups: Iterable[Dataset], sequence: str, keyword: str) -> Dataset | None:
    """Return the nearest item with an attribute: in a functional group's sequence, or on the top level."""
    for group in groups:
        for item in (*_items(group, sequence)[:1], group):
            if _value(item, keyword) is not None:
                return item
    return None


def _modality(image: Image, groups: Iterable[Dataset], description: PixelDescription) -> Rescale | Table:
    if is_shown_as_stored(image.data_set):
        return Rescale()
    for item in _items(image.data_set, "ModalityLUTSequence")[:1]:
        if found := _lut(item, image.order, is_signed=description.is_signed):
            return found
    group = _grouped(groups, "PixelValueTransformationSequence", "RescaleSlope")
    if group is None:
        return Rescale()
    slope = _real(group, "RescaleSlope", 1.0)
    return Rescale(slope or 1.0, _real(group, "RescaleIntercept", 0.0))


def is_shown_as_stored(data_set: Dataset) -> bool:
    """True if an image's modality transformation is not for showing it."""
    return _text(data_set, "SOPClassUID", "") in SHOWN_AS_STORED


def _voi(image: Image, groups: Iterable[Dataset], description: PixelDescription) -> Window | Table | None:
    """Return the first table, else the first window that can be used (PS3.3 C.11.2.1: they are alternatives)."""
    for item in _items(image.data_set, "VOILUTSequence")[:1]:
        if found := _lut(item, image.order, is_signed=description.is_signed):
            return found
    group = _grouped(groups, "FrameVOILUTSequence", "WindowCenter")
    if group is None:
        return None
    function = _text(group, "VOILUTFunction", "LINEAR")
    window = Window(_real(group, "WindowCenter", np.nan), _real(group, "WindowWidth", np.nan), function)
    return window if window.is_usable else None


def _lut(item: Dataset, order: str, *, is_signed: bool) -> Table | None:
    """Read a Modality or VOI LUT: descriptor and data (PS3.3 C.11.1.1, C.11.2.1.1); None when it cannot be used."""
    numbers, data = _numbers(item, "LUTDescriptor"), _value(item, "LUTData")
    if len(numbers) != len(("entries", "first", "bits")) or data is None:
        return None
    entries, first, bits = (int(number) & 0xFFFF for number in numbers)
    first = first - (1 << 16) if is_signed and first >= 1 << 15 else first
    values = _words(data, order)[: entries or 1 << 16]
    return Table(first, values, bits) if len(values) and 1 <= bits <= 2 * BYTE else None


def _words(data: Any, order: str) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Return 16-bit entries, which pydicom reads as bytes (OW) or numbers (US, SS)."""
    if isinstance(data, bytes):
        return np.frombuffer(data[: len(data) // 2 * 2], f"{order}u2").astype(np.uint16)
    numbers = data if isinstance(data, Iterable) else [data]
    return np.array([int(number) & 0xFFFF for number in numbers], np.uint16)


def _palette(image: Image, description: PixelDescription) -> Palette:
    """Read the three tables; raises Rejected(BAD_PALETTE)."""
    columns, first = [], 0
    for colour in COLOURS:
        numbers = _numbers(image.data_set, f"{colour}PaletteColorLookupTableDescriptor")
        descriptor = Descriptor.of([int(number) for number in numbers], is_signed=description.is_signed)
        segmented = _value(image.data_set, f"Segmented{colour}PaletteColorLookupTableData")
        plain = _bytes(_value(image.data_set, f"{colour}PaletteColorLookupTableData"), image.order)
        if segmented is None:
            entries = table(plain, descriptor, image.order)
        else:
            entries = expanded(_bytes(segmented, image.order), descriptor, image.order)
        columns.append(eight_bits(entries, descriptor))
        first = descriptor.first
    if len({len(column) for column in columns}) != 1:
        raise Rejected(BAD_PALETTE)
    return Palette(first, np.stack(columns, axis=-1))


def _bytes(data: Any, order: str) -> bytes:
    if data is None or isinstance(data, bytes):
        return data or b""
    return _words(data, order).astype(f"{order}u2").tobytes()


def _padding(data_set: Dataset, description: PixelDescription) -> tuple[float, float] | None:
    """Return the least and the most sample that stands for no image (PS3.3 C.7.5.1.1.2)."""
    value = _value(data_set, "PixelPaddingValue")
    if value is None or isinstance(value, bytes):
        return None
    ends = (_number(data_set, "PixelPaddingValue", 0), _number(data_set, "PixelPaddingRangeLimit", 0))
    limit = ends[0] if _value(data_set, "PixelPaddingRangeLimit") is None else ends[1]
    low, high = sorted(_as_sample(end, description) for end in (ends[0], limit))
    return float(low), float(high)


def _as_sample(value: int, description: PixelDescription) -> int:
    """Return a 16-bit value with the sign that the samples have, whatever VR it was written in."""
    value &= 0xFFFF
    return value - (1 << 16) if description.is_signed and value >= 1 << 15 else value


def _whole_range(description: PixelDescription) -> tuple[int, int] | None:
    if description.is_float or description.bits_stored > SHORT_BITS:
        return None
    half, whole = 1 << description.bits_stored - 1, 1 << description.bits_stored
    return (-half, half - 1) if description.is_signed else (0, whole - 1)


def _aspect(data_set: Dataset) -> float:
    """Return a pixel's height over its width (PS3.3 C.7.6.3.1.7), 1 where that is not said or absurd."""
    numbers = _numbers(data_set, "PixelAspectRatio")
    if len(numbers) != len(RATIOS) or min(numbers) <= 0:
        return 1.0
    ratio = numbers[0] / numbers[1]
    return ratio if RATIOS[0] <= ratio <= RATIOS[1] else 1.0


def _value(data_set: Dataset, keyword: str) -> Any:
    """Return an element's value; None when it is absent, empty or cannot be read."""
    try:
        value = data_set[keyword].value if keyword in data_set else None
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - pydicom raises many kinds on foreign values
        return None
    return None if value is None or (hasattr(value, "__len__") and not len(value)) else value


def _items(data_set: Dataset, keyword: str) -> list[Dataset]:
    value = _value(data_set, keyword)
    return list(value) if value is not None and all(isinstance(item, Dataset) for item in value) else []


def _numbers(data_set: Dataset, keyword: str) -> list[float]:
    """Return an element's numbers, none when one of them is none."""
    value = _value(data_set, keyword)
    if value is None or isinstance(value, bytes | Mapping):
        return []
    values = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
    try:
        found = [float(one) for one in values]
    except (ValueError, TypeError, OverflowError):
        return []
    return found if np.isfinite(found).all() else []


def _real(data_set: Dataset, keyword: str, default: float) -> float:
    return next(iter(_numbers(data_set, keyword)), default)


def _number(data_set: Dataset, keyword: str, default: int) -> int:
    return int(_real(data_set, keyword, default))


def _text(data_set: Dataset, keyword: str, default: str) -> str:
    value = _value(data_set, keyword)
    return value.strip().upper() if isinstance(value, str) else default
