"""The decoding of one frame's bytes into samples: native frames here, compressed frames by pydicom's decoders.

The bytes are not trusted and the decoders are native code: decode only in a process whose crash costs one answer.
Source: PS3.5 8 (encoding of pixels), A.4 (compressed), PS3.3 C.7.6.3 (image pixel).
"""

import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from operators.dicom.frames import ITEM, ITEM_HEADER
from operators.dicom.transfer_syntaxes import EXPLICIT_VR_BIG_ENDIAN
from operators.errors import Rejected
from operators.imaging.decoding.code_stream import CodeStream, read_code_stream, with_full_spectrum
from operators.imaging.reasons import UNDECODABLE, UNSUPPORTED

Samples = NDArray[Any]

COMPRESSED = "1.2.840.10008.1.2."
RLE = COMPRESSED + "5"
DEFLATED_FRAMES = COMPRESSED + "8.1"
# PS3.6 table A-1: each transfer syntax, and the transfer syntax whose decoder reads it. A JPEG code stream names its
# own process, so the decoder of the extended process also reads the retired processes.
DECODERS: Mapping[str, str] = {
    **{
        COMPRESSED + syntax: COMPRESSED + syntax
        for syntax in (
            *("5", "4.50", "4.51", "4.57", "4.70", "4.80", "4.81", "4.90", "4.91", "4.201", "4.202", "4.203"),
        )
    },
    COMPRESSED + "4.53": COMPRESSED + "4.51",
    COMPRESSED + "4.55": COMPRESSED + "4.51",
}
LOSSY = frozenset(COMPRESSED + syntax for syntax in ("4.50", "4.51", "4.81", "4.91", "4.203"))
BIT, BYTE = 1, 8


@dataclass(frozen=True)
class PixelDescription:
    """The attributes that describe an image's samples (PS3.3 C.7.6.3).

    `is_float` is True for (Double) Float Pixel Data, `is_swapped` if two neighbouring bytes change places in each word
    (see operators.dicom.frames). `stored_samples` is the number of samples that a frame stores for each pixel, 0 for
    all: fewer than `samples` if neighbours share their chroma.
    """

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    photometric_interpretation: str
    planar_configuration: int = 0
    is_float: bool = False
    is_swapped: bool = False
    stored_samples: int = 0

    @property
    def size_bytes(self) -> int:
        """Return the size of one decoded frame."""
        return self.rows * self.columns * self.samples * max(self.bits_allocated // BYTE, 1)

    @property
    def native_bytes(self) -> int:
        """Return the size of one native frame, if its samples take whole bytes."""
        return self.size_bytes // self.samples * (self.stored_samples or self.samples)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of a decoded frame: (rows, columns), with a third axis for colour samples."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)


@dataclass(frozen=True)
class DecodedFrame:
    """A frame's samples, in the shape of their description, and their colour space after decoding."""

    samples: Samples
    photometric_interpretation: str


def decode(frame: bytes, description: PixelDescription, transfer_syntax: str, *, is_native: bool) -> DecodedFrame:
    """Return a frame's samples; if it is compressed, `frame` is the code stream with its fragments joined.

    Raises Rejected(UNSUPPORTED or UNDECODABLE).
    """
    colours = description.photometric_interpretation
    if is_native:
        return DecodedFrame(native_samples(frame, description, transfer_syntax), without_subsampling(colours))
    if transfer_syntax == DEFLATED_FRAMES:
        return DecodedFrame(native_samples(_inflated(frame, description), description), colours)
    if transfer_syntax not in DECODERS:
        raise Rejected(UNSUPPORTED)
    if description.bits_allocated == BIT and transfer_syntax == RLE:
        packed = _compressed(frame, _as_bytes(description), DECODERS[transfer_syntax])
        return replace(packed, samples=_bits(packed.samples.tobytes(), description))
    return _compressed(frame, description, DECODERS[transfer_syntax])


def without_subsampling(photometric_interpretation: str) -> str:
    """Return the name of the colour space with chroma for every pixel, as decoded frames have it."""
    return photometric_interpretation.replace("_422", "")


def native_samples(frame: bytes, description: PixelDescription, transfer_syntax: str = "") -> Samples:
    """Return the samples of an uncompressed frame, without the bits that are not part of the stored bits.

    Raises Rejected(UNDECODABLE) when bytes are missing.
    """
    order = ">" if transfer_syntax == EXPLICIT_VR_BIG_ENDIAN else "<"
    frame = swapped(frame) if description.is_swapped else frame
    if description.bits_allocated == BIT:
        return _bits(frame, description)
    if 0 < description.stored_samples < description.samples:
        count = description.rows * description.columns * description.stored_samples
        return _with_full_chroma(_flat(frame, description, order, count), description)
    return _shaped(_flat(frame, description, order), description)


def _bits(frame: bytes, description: PixelDescription) -> Samples:
    count = int(np.prod(description.shape))
    if len(frame) * BYTE < count:
        raise Rejected(UNDECODABLE)
    return np.unpackbits(np.frombuffer(frame, np.uint8), count=count, bitorder="little").reshape(description.shape)


def _flat(frame: bytes, description: PixelDescription, order: str, count: int | None = None) -> Samples:
    size = description.bits_allocated // BYTE
    kind = "f" if description.is_float else "u"
    count = int(np.prod(description.shape)) if count is None else count
    if len(frame) < count * size:
        raise Rejected(UNDECODABLE)
    samples = np.frombuffer(frame, f"{order}{kind}{size}", count)
    if order == ">":
        samples = samples.astype(samples.dtype.newbyteorder("<"))
    return samples if description.is_float else stored_values(samples, description)


def stored_values(samples: Samples, description: PixelDescription, stream: CodeStream | None = None) -> Samples:
    """Return the value of each sample's stored bits, with its sign; `samples` are unsigned (PS3.5 8.1.1).

    Every sample goes through here, native or decoded: a decoder knows the bits of its code stream, which may be fewer
    or more than the stored bits, and few code streams know a sign. Fewer bits than up to High Bit are the lowest ones.
    """
    bits = samples.dtype.itemsize * BYTE
    width = min(stream.precision, bits) if stream else bits
    stored, high_bit = description.bits_stored, description.high_bit
    if width <= high_bit:
        stored = min(stored, width)
        high_bit = stored - 1
    if not description.is_signed and width == stored:
        return samples
    up, down = bits - 1 - high_bit, bits - stored
    shifted = samples << up if up else samples
    shifted = shifted.view(_signed(samples.dtype)) if description.is_signed else shifted
    return shifted >> down if down else shifted


def _signed(unsigned: np.dtype[Any]) -> str:
    return unsigned.str.replace("u", "i")


def lossy_values(samples: Samples, description: PixelDescription, stream: CodeStream) -> Samples:
    """Return the values of lossy samples: beyond the range of the stored bits they are its ends.

    Cutting off the bits would make black of a white that the loss has made a little whiter.
    """
    if stream.precision <= description.high_bit + 1 or stream.is_signed != description.is_signed:
        return stored_values(samples, description, stream)
    unused = samples.dtype.itemsize * BYTE - min(stream.precision, samples.dtype.itemsize * BYTE)
    whole = (samples << unused).view(_signed(samples.dtype)) >> unused if stream.is_signed else samples
    return np.clip(whole, *stored_range(description))


def stored_range(description: PixelDescription) -> tuple[int, int]:
    """Return the lowest and the highest value that the stored bits of a sample can have."""
    half, whole = 1 << description.bits_stored - 1, 1 << description.bits_stored
    return (-half, half - 1) if description.is_signed else (0, whole - 1)


def _shaped(flat: Samples, description: PixelDescription) -> Samples:
    if description.samples > 1 and description.planar_configuration == 1:
        return flat.reshape(description.samples, description.rows, description.columns).transpose(1, 2, 0)
    return flat.reshape(description.shape)


def _with_full_chroma(flat: Samples, description: PixelDescription) -> Samples:
    """Return samples with chroma for every pixel, from pairs stored as Y1 Y2 Cb Cr (PS3.3 C.7.6.3.1.2)."""
    if description.columns % 2:
        raise Rejected(UNDECODABLE)
    pairs = flat.reshape(description.rows, description.columns // 2, 4)
    whole = np.empty((description.rows, description.columns, 3), flat.dtype)
    whole[:, 0::2, 0], whole[:, 1::2, 0] = pairs[:, :, 0], pairs[:, :, 1]
    whole[:, :, 1:] = np.repeat(pairs[:, :, 2:], 2, axis=1)
    return whole


def _inflated(frame: bytes, description: PixelDescription) -> bytes:
    """Return an inflated frame, cut off at the size in its description (PS3.5 A.4.14)."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        return stream.decompress(frame, description.size_bytes)
    except zlib.error:
        raise Rejected(UNDECODABLE) from None


def _as_bytes(description: PixelDescription) -> PixelDescription:
    """Return the description of packed bits as one row of bytes, as RLE compresses them (PS3.5 8.1.1, G)."""
    count = -(-int(np.prod(description.shape)) // BYTE)
    return replace(description, rows=1, columns=count, samples=1, bits_allocated=8, bits_stored=8, high_bit=7)


def _compressed(stream: bytes, description: PixelDescription, transfer_syntax: str) -> DecodedFrame:
    """Return the samples of a compressed frame; the decoder is told only of unsigned samples that fill their words."""
    told = read_code_stream(stream)
    bits = _container_bits(told.precision) if told else description.bits_allocated
    options: dict[str, Any] = {
        "rows": description.rows,
        "columns": description.columns,
        "samples_per_pixel": description.samples,
        "bits_allocated": bits,
        "bits_stored": bits,
        "pixel_representation": 0,
        "photometric_interpretation": description.photometric_interpretation,
        "planar_configuration": description.planar_configuration,
        "number_of_frames": 1,
    }
    stream = with_full_spectrum(stream) + b"\0" * (len(stream) % 2)
    fragments = ITEM_HEADER.pack(*ITEM, 0) + ITEM_HEADER.pack(*ITEM, len(stream)) + stream
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            samples, properties = get_decoder(UID(transfer_syntax)).as_array(fragments, index=0, raw=True, **options)
    except (MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - decoders raise many kinds; a panic in Rust is not derived from Exception
        raise Rejected(UNDECODABLE) from None
    colours = (told and told.photometric_interpretation) or str(properties["photometric_interpretation"])
    is_lossy = transfer_syntax in LOSSY
    values = (
        lossy_values(samples, description, told) if told and is_lossy else stored_values(samples, description, told)
    )
    return DecodedFrame(values, without_subsampling(colours))


def _container_bits(precision: int) -> int:
    """Return the bits of the word that a decoder returns a sample of this many bits in."""
    return next((bits for bits in (BYTE, 2 * BYTE) if precision <= bits), 4 * BYTE)


def native_frame(pixels: bytes, description: PixelDescription, number: int) -> bytes:
    """Return one native frame as it is stored, cut from the whole pixel data; `number` counts from 1."""
    pixels = swapped(pixels) if description.is_swapped else pixels
    size = description.native_bytes
    is_packed = description.bits_allocated == BIT
    cut = bit_packed_frame(pixels, description, number) if is_packed else pixels[(number - 1) * size : number * size]
    return swapped(cut) if description.is_swapped else cut


def swapped(data: bytes) -> bytes:
    """Return bytes with the two of each word exchanged; a last byte alone gets a zero beside it."""
    return np.frombuffer(data + bytes(len(data) % 2), ">u2").astype("<u2").tobytes()


def bit_packed_frame(data: bytes, description: PixelDescription, number: int) -> bytes:
    """Return one frame of 1-bit samples, cut from the whole pixel data: it may begin within a byte (PS3.5 8.1.1).

    `number` counts from 1.
    """
    count = int(np.prod(description.shape))
    first = (number - 1) * count
    window = np.frombuffer(data, np.uint8)[first // BYTE : -(-(first + count) // BYTE)]
    bits = np.unpackbits(window, bitorder="little")[first % BYTE :][:count]
    return np.packbits(bits, bitorder="little").tobytes()
