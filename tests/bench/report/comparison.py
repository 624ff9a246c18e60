"""The comparison of a run with an earlier one: by ratios and CPU, since absolute times depend on the machine's hour.

A rate counts only against a peer's that was measured in the same rounds. CPU is what the same work costs; it moves by a
tenth from run to run, and by more when others are busy, hence the tolerance.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.bench.archives import FLUORO
from tests.bench.report.results import Results
from tests.bench.report.rounds import Row

# A figure may be worse by this share.
TOLERANCE = 0.25
# A cost below these is too small to be measured to the tolerance: CPU s/GB, or ms for each item.
LEAST_COST = 0.3


@dataclass(frozen=True)
class Change:
    """A figure of one piece of work in both runs; `is_worse` when it got worse by more than the tolerance."""

    section: str
    work: str
    figure: str
    before: float
    now: float
    is_worse: bool

    def __str__(self) -> str:
        verdict = "WORSE" if self.is_worse else "ok"
        return f"{verdict:<6}{self.section}: {self.work}: {self.figure} {self.before:g} -> {self.now:g}"


def changes(before: Results, now: Results) -> Iterator[Change]:
    """Yield every ratio and cost of our archive that both runs have."""
    for name, rows in now.sections.items():
        known = ours(before, name)
        for row in rows:
            if row.archive == FLUORO and row.work in known:
                yield from changes_of(name, known[row.work], row)


def missing(before: Results, now: Results) -> list[str]:
    """Return the work that was measured before, in a section of both runs, and was not now."""
    return [
        f"{name}: {work}"
        for name in before.sections
        if name in now.sections
        for work in ours(before, name).keys() - ours(now, name).keys()
    ]


def ours(results: Results, section: str) -> Mapping[str, Row]:
    """Return our archive's rows of a section, by their work."""
    return {row.work: row for row in results.sections.get(section, ()) if row.archive == FLUORO}


def changes_of(section: str, before: Row, now: Row) -> Iterator[Change]:
    """Yield the ratios and the cost that both rows have."""
    for peer in before.ratios.keys() & now.ratios.keys():
        then, today = before.ratios[peer], now.ratios[peer]
        yield Change(section, now.work, f"rate over {peer}", then, today, today < then * (1 - TOLERANCE))
    then, today = before.figures.get("cost", 0.0), now.figures.get("cost", 0.0)
    if then and today:
        is_worse = today > max(LEAST_COST, then * (1 + TOLERANCE))
        yield Change(section, now.work, "CPU", then, today, is_worse)
