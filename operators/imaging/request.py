"""The query parameters of a request for a rendered image, parsed and checked (PS3.18 8.3.5)."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from operators.errors import BadQuery
from operators.imaging.gray import FUNCTIONS, Window

DECIMAL = re.compile(r"[+-]?[0-9]{1,12}(\.[0-9]{0,12})?([eE][+-]?[0-9]{1,2})?|[+-]?\.[0-9]{1,12}([eE][+-]?[0-9]{1,2})?")
MOST_SIDE = 4096
QUALITY = 90
VIEWPORT_VALUES = 6
THUMBNAIL_VALUES = 2

VIEWPORT_ADVICE = (
    f"viewport takes vw,vh or vw,vh,sx,sy,sw,sh: vw and vh whole numbers from 1 to {MOST_SIDE}, "
    "sx and sy from 0, sw and sh other than 0"
)
THUMBNAIL_ADVICE = f"the viewport of a thumbnail takes vw,vh: whole numbers from 1 to {MOST_SIDE}"
WINDOW_ADVICE = (
    "window takes center,width,function: two numbers and linear, linear-exact or sigmoid; "
    "width is at least 1 for linear and above 0 for the others"
)
QUALITY_ADVICE = "quality takes a whole number from 1 to 100"
ONCE_ADVICE = "give each of window, viewport and quality once"


@dataclass(frozen=True)
class Viewport:
    """The size to fit the image into, and the region of the image to show there (PS3.18 8.3.5.1.3).

    A source size of 0 stands for the image's own size; a negative source size mirrors the region. With `only_shrinks`
    an image smaller than the viewport keeps its size.
    """

    width: int
    height: int
    left: float = 0.0
    top: float = 0.0
    source_width: float = 0.0
    source_height: float = 0.0
    only_shrinks: bool = False


@dataclass(frozen=True)
class Rendering:
    """The requested form of a rendered image: media type, window, viewport, quality in per cent."""

    media_type: str = "image/jpeg"
    window: Window | None = None
    viewport: Viewport | None = None
    quality: int = QUALITY


def parse_rendering(parameters: Iterable[tuple[str, str]], media_type: str) -> Rendering:
    """Return the rendering that the query parameters request; unknown parameters are ignored. Raises BadQuery."""
    window, viewport, quality = _single_values(parameters)
    return Rendering(
        media_type,
        None if window is None else _window(window),
        None if viewport is None else _viewport(viewport),
        QUALITY if quality is None else _quality(quality),
    )


def parse_thumbnail(parameters: Iterable[tuple[str, str]], media_type: str, side: int) -> Rendering:
    """Return the rendering that the query parameters of a thumbnail request; raises BadQuery.

    Without a viewport the thumbnail fits into a square of `side` pixels, and a smaller image keeps its size.
    """
    window, viewport, quality = _single_values(parameters)
    return Rendering(
        media_type,
        None if window is None else _window(window),
        Viewport(side, side, only_shrinks=True) if viewport is None else _thumbnail_viewport(viewport),
        QUALITY if quality is None else _quality(quality),
    )


def _single_values(parameters: Iterable[tuple[str, str]]) -> tuple[str | None, str | None, str | None]:
    found: dict[str, str] = {}
    for name, value in parameters:
        if name in ("window", "viewport", "quality"):
            if name in found:
                raise BadQuery(ONCE_ADVICE)
            found[name] = value
    return found.get("window"), found.get("viewport"), found.get("quality")


def _window(text: str) -> Window:
    center, width, function = [*text.split(","), "", "", ""][:3]
    if text.count(",") != len(("center", "width")):
        raise BadQuery(WINDOW_ADVICE)
    name = function.strip().upper().replace("-", "_")
    window = Window(_decimal(center, WINDOW_ADVICE), _decimal(width, WINDOW_ADVICE), name)
    if name not in FUNCTIONS or not window.is_usable:
        raise BadQuery(WINDOW_ADVICE)
    return window


def _viewport(text: str) -> Viewport:
    values = [value.strip() for value in text.split(",")]
    if not THUMBNAIL_VALUES <= len(values) <= VIEWPORT_VALUES:
        raise BadQuery(VIEWPORT_ADVICE)
    width, height = (_side(value, VIEWPORT_ADVICE) for value in values[:2])
    left, top, source_width, source_height = (
        _decimal(value, VIEWPORT_ADVICE) if value else None for value in (values[2:] + [""] * 4)[:4]
    )
    if (left or 0) < 0 or (top or 0) < 0 or source_width == 0 or source_height == 0:
        raise BadQuery(VIEWPORT_ADVICE)
    return Viewport(width, height, left or 0.0, top or 0.0, source_width or 0.0, source_height or 0.0)


def _thumbnail_viewport(text: str) -> Viewport:
    values = [value.strip() for value in text.split(",")]
    if len(values) != THUMBNAIL_VALUES:
        raise BadQuery(THUMBNAIL_ADVICE)
    width, height = (_side(value, THUMBNAIL_ADVICE) for value in values)
    return Viewport(width, height)


def _quality(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= 100:  # noqa: PLR2004 (per cent)
        raise BadQuery(QUALITY_ADVICE)
    return int(text)


def _side(text: str, advice: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= MOST_SIDE:
        raise BadQuery(advice)
    return int(text)


def _decimal(text: str, advice: str) -> float:
    if not DECIMAL.fullmatch(text.strip()):
        raise BadQuery(advice)
    number = float(text)
    if not math.isfinite(number):
        raise BadQuery(advice)
    return number
