"""Gray samples to gray tones: modality, window or table of values of interest, inversion (PS3.4 N.2, PS3.3 C.11)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[Any]
Values = NDArray[np.float64]
Tones = NDArray[np.uint8]

WHITE = 255
# Samples toned at a time: what lies between fits a processor's cache, and a large image takes little memory.
BLOCK = 1 << 18
SHORT_BYTES = 2


@dataclass(frozen=True)
class Window:
    """The values that take part: center and width in units of the values after the modality transformation."""

    center: float
    width: float
    function: str = "LINEAR"

    @property
    def is_usable(self) -> bool:
        """True if the function is one of ours, defined for this width (PS3.3 C.11.2.1.2)."""
        least = 1.0 if self.function == "LINEAR" else np.nextafter(0.0, 1.0)
        return self.function in FUNCTIONS and bool(np.isfinite([self.center, self.width]).all()) and self.width >= least

    def shares(self, values: Values) -> Values:
        """Return how white each value is, from 0 to 1."""
        return FUNCTIONS[self.function](values, self.center, self.width)


def _linear(values: Values, center: float, width: float) -> Values:
    """Source: PS3.3 C.11.2.1.2.1."""
    if width == 1.0:
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)


def _linear_exact(values: Values, center: float, width: float) -> Values:
    """Source: PS3.3 C.11.2.1.3.2."""
    return np.clip((values - center) / width + 0.5, 0.0, 1.0)


def _sigmoid(values: Values, center: float, width: float) -> Values:
    """Source: PS3.3 C.11.2.1.3.1."""
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700.0, 700.0))))


FUNCTIONS: Mapping[str, Callable[[Values, float, float], Values]] = {
    "LINEAR": _linear,
    "LINEAR_EXACT": _linear_exact,
    "SIGMOID": _sigmoid,
}


@dataclass(frozen=True, eq=False)
class Table:
    """A look-up table: the first value it maps, its entries, and the bits of each (PS3.3 C.11.1, C.11.2)."""

    first: int
    entries: Samples = field(repr=False)
    bits: int

    def mapped(self, values: Values) -> Values:
        """Return each value's entry; values beyond the ends get the first or the last."""
        index = np.clip(np.nan_to_num(values) - self.first, 0, len(self.entries) - 1).astype(np.intp)
        return self.entries[index].astype(np.float64)

    def shares(self, values: Values) -> Values:
        """Return how white each value is, from 0 to 1."""
        return np.clip(self.mapped(values) / float((1 << self.bits) - 1), 0.0, 1.0)


@dataclass(frozen=True)
class Rescale:
    """The linear modality transformation (PS3.3 C.11.1)."""

    slope: float = 1.0
    intercept: float = 0.0

    def mapped(self, values: Values) -> Values:
        """Return each sample's value, in the units of the modality."""
        return values * self.slope + self.intercept


@dataclass(frozen=True)
class GrayLook:
    """How gray samples become tones; `voi` None takes the range of the samples, `padding` is black and not in it."""

    modality: Rescale | Table = Rescale()
    voi: Window | Table | None = None
    is_inverse: bool = False
    padding: tuple[float, float] | None = None
    whole_range: tuple[int, int] | None = None


def tones(samples: Samples, look: GrayLook) -> Tones:
    """Return gray samples as 8-bit tones: uint8, (rows, columns), 0 is black."""
    flat = np.ascontiguousarray(samples).reshape(-1)
    least, most = _range(flat, look)
    voi = look.voi or _whole(look, least, most)
    if flat.dtype.kind in "iu" and flat.dtype.itemsize <= SHORT_BYTES:
        toned = _by_table(flat, look, voi)
    else:
        toned = _by_block(flat, lambda block: _toned(block, look, voi))
    return toned.reshape(samples.shape)


def _range(flat: Samples, look: GrayLook) -> tuple[float, float]:
    """Return the least and the most of what is shown: finite, and not padding."""
    if look.voi is not None or look.whole_range is not None:
        return look.whole_range or (0, 0)
    shown = flat[np.isfinite(flat)] if flat.dtype.kind == "f" else flat
    if look.padding is not None:
        shown = shown[(shown < look.padding[0]) | (shown > look.padding[1])]
    return (float(shown.min()), float(shown.max())) if shown.size else (0.0, 0.0)


def _whole(look: GrayLook, least: float, most: float) -> Window:
    """Return the window that shows a range of samples from black to white."""
    low, high = sorted(look.modality.mapped(np.array([least, most], np.float64)).tolist())
    return Window((low + high) / 2, (high - low) or 1.0, "LINEAR_EXACT")


def _toned(samples: Samples, look: GrayLook, voi: Window | Table) -> Tones:
    with np.errstate(all="ignore"):
        shares = voi.shares(look.modality.mapped(samples.astype(np.float64)))
    shares = 1.0 - shares if look.is_inverse else shares
    toned = (np.nan_to_num(shares) * WHITE + 0.5).astype(np.uint8)
    if look.padding is not None:
        toned[(samples >= look.padding[0]) & (samples <= look.padding[1])] = 0
    return toned


def _by_table(flat: Samples, look: GrayLook, voi: Window | Table) -> Tones:
    """Tone every sample value that occurs once, and look the samples up: a fifth of the time of toning each."""
    values = np.arange(int(flat.min()), int(flat.max()) + 1, dtype=np.int64)
    unsigned = flat.view(flat.dtype.str.replace("i", "u"))
    table = np.zeros(1 << 8 * flat.dtype.itemsize, np.uint8)
    table[values & (len(table) - 1)] = _toned(values, look, voi)
    return _by_block(unsigned, lambda block: table[block])


def _by_block(flat: Samples, tone: Callable[[Samples], Tones]) -> Tones:
    toned = np.empty(flat.size, np.uint8)
    for start in range(0, flat.size, BLOCK):
        toned[start : start + BLOCK] = tone(flat[start : start + BLOCK])
    return toned
