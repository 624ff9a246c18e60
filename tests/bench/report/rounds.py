"""The figures of each round of a piece of work, and the row that they become: medians, and ratios round by round."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from statistics import median

MB, GB, MS = 1e6, 1e9, 1e-3


@dataclass(frozen=True)
class Unit:
    """What rates and costs are given in: amounts of `rate_size` a second, CPU of `cost_s` seconds for `cost_size`."""

    rate: str
    rate_size: float
    cost: str
    cost_size: float
    cost_s: float


BYTES = Unit("MB/s", MB, "CPU s/GB", GB, 1)
ITEMS = Unit("/s", 1, "CPU ms each", 1, MS)


@dataclass(frozen=True)
class Round:
    """One round: bytes or items done, in seconds, the CPU seconds of each server, and the seconds of single answers.

    `others` is how many processors other programs of the machine kept busy.
    """

    amount: float
    seconds: float
    cpu_s: Mapping[str, float] = field(default_factory=dict)
    peak_bytes: int = 0
    others: float = 0.0
    times_s: Sequence[float] = ()

    @property
    def rate(self) -> float:
        """Return the amount a second."""
        return self.amount / self.seconds if self.seconds else 0.0

    def line(self, unit: Unit) -> str:
        """Return rate and cost as a line of progress."""
        spent = cost(unit, self, sum(self.cpu_s.values()))
        return f"{self.rate / unit.rate_size:.3g} {unit.rate}, {spent:.3g} {unit.cost}, others {self.others:.1f}"


@dataclass(frozen=True)
class Row:
    """The medians of a piece of work at one archive.

    `figures` are rate, cost, p50_ms, p99_ms, peak_mb, others: those that were measured. `cpu` is the cost by server.
    `ratios` are this archive's rate over each peer's, the median of the rounds.
    """

    work: str
    archive: str
    unit: str
    figures: Mapping[str, float]
    cpu: Mapping[str, float] = field(default_factory=dict)
    ratios: Mapping[str, float] = field(default_factory=dict)


def rows(work: str, unit: Unit, measured: Mapping[str, Sequence[Round]], ours: str) -> list[Row]:
    """Return a row for each archive; the first is that of `ours`, which has the ratios to all others."""
    names = sorted((name for name, rounds in measured.items() if rounds), key=lambda name: (name != ours, name))
    return [row(work, unit, name, measured[name], peers(measured, ours) if name == ours else {}) for name in names]


def peers(measured: Mapping[str, Sequence[Round]], archive: str) -> dict[str, Sequence[Round]]:
    """Return the rounds of the other archives that had as many, which can be compared round by round."""
    as_many = len(measured[archive])
    return {name: rounds for name, rounds in measured.items() if name != archive and len(rounds) == as_many}


def row(work: str, unit: Unit, archive: str, rounds: Sequence[Round], others: Mapping[str, Sequence[Round]]) -> Row:
    """Return the row of one archive."""
    times = [seconds for one in rounds for seconds in one.times_s]
    cpu = costs(unit, rounds)
    figures = {
        "rate": median(one.rate for one in rounds) / unit.rate_size,
        "cost": median(cost(unit, one, sum(one.cpu_s.values())) for one in rounds),
        "p50_ms": percentile(0.5, times) / MS,
        "p99_ms": percentile(0.99, times) / MS,
        "peak_mb": max(one.peak_bytes for one in rounds) / MB,
        "others": median(one.others for one in rounds),
    }
    # Without CPU nobody has looked at the others; with it, 0 says that the machine was ours.
    is_metered = any(one.cpu_s for one in rounds)
    known = {
        name: rounded(value)
        for name, value in figures.items()
        if not isnan(value) and (value or (name == "others" and is_metered))
    }
    ratios = {name: rounded(ratio(rounds, theirs)) for name, theirs in others.items()}
    return Row(work, archive, unit.rate, known, cpu, ratios)


def costs(unit: Unit, rounds: Sequence[Round]) -> dict[str, float]:
    """Return the cost by server, the median of the rounds; servers that cost next to nothing are left out."""
    names = {name for one in rounds for name in one.cpu_s}
    found = {name: median(cost(unit, one, one.cpu_s.get(name, 0.0)) for one in rounds) for name in sorted(names)}
    return {name: rounded(value) for name, value in found.items() if value >= 0.01 * sum(found.values())}


def cost(unit: Unit, one: Round, cpu_s: float) -> float:
    """Return the CPU time in the unit's measure; 0 when no CPU was measured."""
    return cpu_s and cpu_s / unit.cost_s / (one.amount / unit.cost_size)


def ratio(ours: Sequence[Round], theirs: Sequence[Round]) -> float:
    """Return our rate over theirs, round by round: whatever slowed a round slowed both."""
    return median(one.rate / other.rate for one, other in zip(ours, theirs, strict=True))


def percentile(share: float, values: Sequence[float]) -> float:
    """Return one of the values, below which this share of them lies; not a number when there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def rounded(value: float) -> float:
    """Return a figure with three significant digits, as no measurement here has more."""
    return float(f"{value:.3g}")
