"""Reading an image's header for rendering: the attributes that decide its display, and the description of its samples.

Headers are not trusted: an attribute that cannot be read counts as absent, and an image that lacks an attribute needed
for decoding is Rejected. Source: PS3.3 C.7.6.3.
"""

import struct
import warnings
from dataclasses import dataclass, replace
from io import BytesIO

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_dataset
from pydicom.tag import Tag

from operators.dicom.frames import Shape, is_swapped
from operators.dicom.scan import DOUBLE_FLOAT_PIXEL_DATA, FLOAT_PIXEL_DATA, Header, Pixels, scan
from operators.dicom.transfer_syntaxes import IMPLICIT_VR_LITTLE_ENDIAN
from operators.errors import Rejected
from operators.imaging.decoding.pixels import BIT, BYTE, PixelDescription
from operators.imaging.reasons import BAD_DESCRIPTION, NO_PIXELS
from operators.imaging.values import integer_of, text_of

COLOURS = ("Red", "Green", "Blue")
ALLOCATED_BITS = (BIT, BYTE, 2 * BYTE, 4 * BYTE, 8 * BYTE)
FLOAT_BITS = (4 * BYTE, 8 * BYTE)

# Every attribute that decides how an image is displayed, and the character set, which pydicom needs to read items.
ATTRIBUTES = (
    *("SpecificCharacterSet", "SOPClassUID", "PixelIntensityRelationship", "SamplesPerPixel"),
    *("PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns"),
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
class ImageHeader:
    """An image's attributes, and the scan that found its pixel element (`pixels`) and byte order."""

    data_set: Dataset
    pixels: Pixels
    scanned: Header

    @property
    def order(self) -> str:
        """Return the byte order of numbers as struct writes it: `<` little, `>` big endian."""
        return self.scanned.order


def read_image_header(header: bytes, prefix_length: int, transfer_syntax: str) -> ImageHeader:
    """Return the header in the beginning of an object, which includes the pixel element's tag, VR and length.

    Raises Rejected(NO_PIXELS or BAD_DESCRIPTION), and what scan() raises.
    """
    found = scan(memoryview(header)[prefix_length:], transfer_syntax, frozenset(TAGS))
    if found.pixels is None:
        raise Rejected(NO_PIXELS)
    has_sequence = any(struct.pack(f"{found.order}HH", tag >> 16, tag & 0xFFFF) in header for tag in SEQUENCES)
    data_set = _parsed(found, transfer_syntax) if has_sequence else _scanned(found)
    return ImageHeader(data_set, found.pixels, found)


def _scanned(found: Header) -> Dataset:
    """Return the attributes that the scan found, ten times as fast as parsing the header with pydicom."""
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
    """Return the attributes as pydicom parses them, because a scan cannot read a sequence of undefined length."""
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


def describe_pixels(image: ImageHeader) -> PixelDescription:
    """Return the description of the samples; raises Rejected(BAD_DESCRIPTION) if its numbers are not consistent."""
    data_set, is_float = image.data_set, image.pixels.tag in (FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA)
    allocated = 8 * BYTE if image.pixels.tag == DOUBLE_FLOAT_PIXEL_DATA else integer_of(data_set, "BitsAllocated", 0)
    stored = allocated if is_float else integer_of(data_set, "BitsStored", allocated)
    description = PixelDescription(
        rows=integer_of(data_set, "Rows", 0),
        columns=integer_of(data_set, "Columns", 0),
        samples=integer_of(data_set, "SamplesPerPixel", 1),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=integer_of(data_set, "HighBit", stored - 1),
        is_signed=integer_of(data_set, "PixelRepresentation", 0) == 1,
        photometric_interpretation=text_of(data_set, "PhotometricInterpretation", "MONOCHROME2"),
        planar_configuration=integer_of(data_set, "PlanarConfiguration", 0),
        is_float=is_float,
        is_swapped=is_swapped(image.scanned, allocated),
    )
    if not _is_consistent(description):
        raise Rejected(BAD_DESCRIPTION)
    return replace(description, stored_samples=_stored_samples(image, description))


def _stored_samples(image: ImageHeader, description: PixelDescription) -> int:
    """Return the samples that a frame stores for each pixel: all of them if it is compressed."""
    if image.pixels.length is None:
        return description.samples
    shape = Shape(
        rows=description.rows,
        columns=description.columns,
        samples=description.samples,
        bits_allocated=description.bits_allocated,
        photometric_interpretation=description.photometric_interpretation,
        count=integer_of(image.data_set, "NumberOfFrames", 1),
    )
    return shape.stored_samples(image.pixels.length)


def _is_consistent(pixels: PixelDescription) -> bool:
    has_size = 0 < pixels.rows <= 0xFFFF and 0 < pixels.columns <= 0xFFFF  # noqa: PLR2004 (VR US)
    has_bits = pixels.bits_allocated in (FLOAT_BITS if pixels.is_float else ALLOCATED_BITS)
    bits_fit = 0 < pixels.bits_stored <= pixels.high_bit + 1 <= pixels.bits_allocated
    return has_size and has_bits and bits_fit and pixels.samples in (1, len(COLOURS))
