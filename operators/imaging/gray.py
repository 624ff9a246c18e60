"""The transformation of gray samples to tones: modality, values of interest, inversion (PS3.4 N.2, PS3.3 C.11)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[Any]
Values = NDArray[np.float64]
Tones = NDArray[np.uint8]

WHITE = 255
# Samples transformed at a time: the intermediate arrays fit the processor's cache, however large the image is.
BLOCK = 1 << 18
SHORT_BYTES = 2


@dataclass(frozen=True)
class Window:
    """The range of values displayed from black to white, in the units after the modality transformation."""

    center: float
    width: float
    function: str = "LINEAR"

    @property
    def is_usable(self) -> bool:
        """True if the function is known, the numbers are finite, and the width is allowed (PS3.3 C.11.2.1.2)."""
        least = 1.0 if self.function == "LINEAR" else np.nextafter(0.0, 1.0)
        return self.function in FUNCTIONS and bool(np.isfinite([self.center, self.width]).all()) and self.width >= least

    def whiteness(self, values: Values) -> Values:
        """Return how white each value is, from 0 (black) to 1 (white)."""
        return FUNCTIONS[self.function](values, self.center, self.width)


def _linear(values: Values, center: float, width: float) -> Values:
    """Return the whiteness by the function LINEAR (PS3.3 C.11.2.1.2.1)."""
    if width == 1.0:
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)


def _linear_exact(values: Values, center: float, width: float) -> Values:
    """Return the whiteness by the function LINEAR_EXACT (PS3.3 C.11.2.1.3.2)."""
    return np.clip((values - center) / width + 0.5, 0.0, 1.0)


def _sigmoid(values: Values, center: float, width: float) -> Values:
    """Return the whiteness by the function SIGMOID (PS3.3 C.11.2.1.3.1)."""
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700.0, 700.0))))


FUNCTIONS: Mapping[str, Callable[[Values, float, float], Values]] = {
    "LINEAR": _linear,
    "LINEAR_EXACT": _linear_exact,
    "SIGMOID": _sigmoid,
}


@dataclass(frozen=True, eq=False)
class LookUpTable:
    """A table with an entry of `bits` bits for each value, the first for the value `first` (PS3.3 C.11.1, C.11.2)."""

    first: int
    entries: Samples = field(repr=False)
    bits: int

    def mapped(self, values: Values) -> Values:
        """Return each value's entry; a value below or above the table gets its first or last entry."""
        index = np.clip(np.nan_to_num(values) - self.first, 0, len(self.entries) - 1).astype(np.intp)
        return self.entries[index].astype(np.float64)

    def outputs(self, _inputs: tuple[float, float]) -> tuple[float, float]:
        """Return the lowest and the highest value that may come out; entries are unsigned."""
        return 0.0, float((1 << self.bits) - 1)

    def whiteness(self, values: Values) -> Values:
        """Return how white each value is, from 0 (black) to 1 (white)."""
        return np.clip(self.mapped(values) / float((1 << self.bits) - 1), 0.0, 1.0)


@dataclass(frozen=True)
class Rescale:
    """The linear modality transformation (PS3.3 C.11.1)."""

    slope: float = 1.0
    intercept: float = 0.0

    def mapped(self, values: Values) -> Values:
        """Return each sample's value in the units of the modality."""
        return values * self.slope + self.intercept

    def outputs(self, inputs: tuple[float, float]) -> tuple[float, float]:
        """Return the lowest and the highest value that may come out."""
        low, high = sorted(end * self.slope + self.intercept for end in inputs)
        return low, high


@dataclass(frozen=True)
class GrayTransform:
    """How gray samples become tones.

    `voi` is the window or table of values of interest. Without it, `whole_range` (samples before the modality
    transformation) is displayed from black to white, and without that the range of the frame's samples. Samples within
    `padding`, both ends included, are black and do not count for that range.
    """

    modality: Rescale | LookUpTable = Rescale()
    voi: Window | LookUpTable | None = None
    is_inverse: bool = False
    padding: tuple[float, float] | None = None
    whole_range: tuple[int, int] | None = None


def tones(samples: Samples, transform: GrayTransform) -> Tones:
    """Return gray samples as 8-bit tones: uint8, (rows, columns), 0 is black."""
    flat = np.ascontiguousarray(samples).reshape(-1)
    voi = transform.voi or _whole_window(flat, transform)
    if flat.dtype.kind in "iu" and flat.dtype.itemsize <= SHORT_BYTES:
        toned = _by_table(flat, transform, voi)
    else:
        toned = _by_block(flat, lambda block: _transformed(block, transform, voi))
    return toned.reshape(samples.shape)


def _whole_window(flat: Samples, transform: GrayTransform) -> Window:
    """Return the window that displays the whole range of the samples from black to white."""
    ends = transform.whole_range or _sample_range(flat, transform.padding)
    low, high = sorted(transform.modality.mapped(np.array(ends, np.float64)).tolist())
    return Window((low + high) / 2, (high - low) or 1.0, "LINEAR_EXACT")


def _sample_range(flat: Samples, padding: tuple[float, float] | None) -> tuple[float, float]:
    """Return the lowest and the highest sample that is finite and not padding; zeros if there is none."""
    shown = flat[np.isfinite(flat)] if flat.dtype.kind == "f" else flat
    if padding is not None:
        shown = shown[(shown < padding[0]) | (shown > padding[1])]
    return (float(shown.min()), float(shown.max())) if shown.size else (0.0, 0.0)


def _transformed(samples: Samples, transform: GrayTransform, voi: Window | LookUpTable) -> Tones:
    with np.errstate(all="ignore"):
        whiteness = voi.whiteness(transform.modality.mapped(samples.astype(np.float64)))
    whiteness = 1.0 - whiteness if transform.is_inverse else whiteness
    toned = (np.nan_to_num(whiteness) * WHITE + 0.5).astype(np.uint8)
    if transform.padding is not None:
        toned[(samples >= transform.padding[0]) & (samples <= transform.padding[1])] = 0
    return toned


def _by_table(flat: Samples, transform: GrayTransform, voi: Window | LookUpTable) -> Tones:
    """Return the tones from a table of every value in the range: five times as fast as transforming each sample."""
    values = np.arange(int(flat.min()), int(flat.max()) + 1, dtype=np.int64)
    unsigned = flat.view(flat.dtype.str.replace("i", "u"))
    table = np.zeros(1 << 8 * flat.dtype.itemsize, np.uint8)
    table[values & (len(table) - 1)] = _transformed(values, transform, voi)
    return _by_block(unsigned, lambda block: table[block])


def _by_block(flat: Samples, transform_block: Callable[[Samples], Tones]) -> Tones:
    toned = np.empty(flat.size, np.uint8)
    for start in range(0, flat.size, BLOCK):
        toned[start : start + BLOCK] = transform_block(flat[start : start + BLOCK])
    return toned
