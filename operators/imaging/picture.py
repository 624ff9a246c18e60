"""Making a picture file of decoded samples: tones or colours, cropped, mirrored, scaled, encoded (PS3.18 8.3.5)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from operators.errors import Rejected
from operators.imaging.decoding.pixels import DecodedFrame
from operators.imaging.display import EIGHT_BITS, DisplayParameters
from operators.imaging.gray import tones
from operators.imaging.reasons import EMPTY_REGION, UNSUPPORTED_COLOURS
from operators.imaging.request import Rendering, Viewport

# Pillow first shrinks a picture by a whole factor, to at least this many times its final size, because that is faster.
REDUCING_GAP = 3.0

Picture = NDArray[np.uint8]

# The rendered media types of a single frame (PS3.18 table 8.7.4-1), and Pillow's names for their formats.
FORMATS: Mapping[str, str] = {"image/jpeg": "JPEG", "image/png": "PNG", "image/gif": "GIF"}


def make_picture(decoded: DecodedFrame, display: DisplayParameters, rendering: Rendering) -> Picture:
    """Return a frame as displayed, in its own size: uint8, (rows, columns) of tones or (rows, columns, 3) of RGB.

    The client's window overrides the image's own window. Raises Rejected(UNSUPPORTED_COLOURS).
    """
    if decoded.samples.ndim == len(("rows", "columns")):
        return _gray_or_palette(decoded.samples, display, rendering)
    to_rgb = COLOUR_SPACES.get(decoded.photometric_interpretation)
    if to_rgb is None:
        raise Rejected(UNSUPPORTED_COLOURS)
    return to_rgb(_eight_bit_colours(decoded.samples, display))


def _gray_or_palette(samples: NDArray[Any], display: DisplayParameters, rendering: Rendering) -> Picture:
    if display.palette is not None:
        return display.palette.mapped(samples)
    return tones(samples, replace(display.gray, voi=rendering.window or display.gray.voi))


def _eight_bit_colours(samples: NDArray[Any], display: DisplayParameters) -> Picture:
    """Return colour samples scaled to 8 bits."""
    low, high = display.colour_range
    if samples.dtype == np.uint8 and high >= EIGHT_BITS[1]:
        return np.ascontiguousarray(samples)
    scaled = (samples.astype(np.float32) - low) * (255.0 / max(high - low, 1))
    return np.asarray(np.clip(scaled, 0, 255), np.uint8)


def _rgb(samples: Picture) -> Picture:
    return samples


def _ybr_full(samples: Picture) -> Picture:
    """Return RGB as PS3.3 C.7.6.3.1.2 defines it, which is the conversion of JFIF."""
    return np.asarray(Pictures.fromarray(samples, "YCbCr").convert("RGB"))


def _ybr_partial(samples: Picture) -> Picture:
    """Return RGB, with luminance stretched from 16..235 and chroma from 16..240 to 0..255 (PS3.3 C.7.6.3.1.2)."""
    whole = samples.astype(np.float32)
    whole[..., 0] = (whole[..., 0] - 16) * (255 / 219)
    whole[..., 1:] = (whole[..., 1:] - 128) * (255 / 224) + 128
    return _ybr_full(np.clip(np.rint(whole), 0, 255).astype(np.uint8))


# Decoders return RGB for code streams in YBR_RCT or YBR_ICT.
COLOUR_SPACES: Mapping[str, Callable[[Picture], Picture]] = {
    "RGB": _rgb,
    "YBR_RCT": _rgb,
    "YBR_ICT": _rgb,
    "YBR_FULL": _ybr_full,
    "YBR_PARTIAL": _ybr_partial,
    "YBR_PARTIAL_420": _ybr_partial,
}


def encode(picture: Picture, rendering: Rendering, aspect: float = 1.0) -> bytes:
    """Return a picture as a file, fitted into the requested viewport; raises Rejected(EMPTY_REGION)."""
    image = Pictures.fromarray(picture)
    image = _fit(image, rendering.viewport, aspect) if rendering.viewport or aspect != 1.0 else image
    buffer = BytesIO()
    # PNG at its default compression level takes three times as long to save a tenth of the size.
    options: dict[str, Any] = {"quality": rendering.quality, "compress_level": 1}
    image.save(buffer, FORMATS[rendering.media_type], **options)
    return buffer.getvalue()


def _fit(image: Pictures.Image, viewport: Viewport | None, aspect: float) -> Pictures.Image:
    region = _region(image.size, viewport)
    size = _fitted_size((region.width, region.height), viewport, aspect)
    if size != image.size or (region.width, region.height) != image.size:
        image = _scaled(image, region, size)
    if region.is_mirrored:
        image = image.transpose(Pictures.Transpose.FLIP_LEFT_RIGHT)
    return image.transpose(Pictures.Transpose.FLIP_TOP_BOTTOM) if region.is_upside_down else image


def _scaled(image: Pictures.Image, region: "_Region", size: tuple[int, int]) -> Pictures.Image:
    """Return a region scaled to `size`; it is cropped first, so that pixels around it are not mixed into its edges."""
    left, top = math.floor(region.left), math.floor(region.top)
    right, bottom = math.ceil(region.left + region.width), math.ceil(region.top + region.height)
    image = image.crop((left, top, right, bottom))
    x, y = region.left - left, region.top - top
    box = (x, y, x + region.width, y + region.height)
    return image.resize(size, Pictures.Resampling.BILINEAR, box, REDUCING_GAP)


@dataclass(frozen=True)
class _Region:
    """The part of a picture that is shown, in pixels of the picture."""

    left: float
    top: float
    width: float
    height: float
    is_mirrored: bool
    is_upside_down: bool


def _region(size: tuple[int, int], viewport: Viewport | None) -> _Region:
    """Return the viewport's region, limited to the picture (PS3.18 8.3.5.1.3); raises Rejected(EMPTY_REGION)."""
    if viewport is None:
        return _Region(0, 0, *size, is_mirrored=False, is_upside_down=False)
    width, height = viewport.source_width or size[0], viewport.source_height or size[1]
    left, top = max(viewport.left, 0.0), max(viewport.top, 0.0)
    right, bottom = min(viewport.left + abs(width), size[0]), min(viewport.top + abs(height), size[1])
    if right <= left or bottom <= top:
        raise Rejected(EMPTY_REGION)
    return _Region(left, top, right - left, bottom - top, is_mirrored=width < 0, is_upside_down=height < 0)


def _fitted_size(size: tuple[float, float], viewport: Viewport | None, aspect: float) -> tuple[int, int]:
    """Return the size that fits into the viewport with the image's proportions; its own size without a viewport.

    Pixels that are not square are made square by stretching, never by shrinking, so that no pixel is lost.
    """
    width, height = size[0] * max(1.0, 1 / aspect), size[1] * max(1.0, aspect)
    scale = 1.0
    if viewport is not None:
        scale = min(viewport.width / width, viewport.height / height)
        scale = min(scale, 1.0) if viewport.only_shrinks else scale
    return max(round(width * scale), 1), max(round(height * scale), 1)
