"""The table of a run, as Markdown: `python -m tests.bench.report.table FILE...` prints that of results in JSON."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.report.results import Results
from tests.bench.report.rounds import BYTES, ITEMS, Row

COSTS = {unit.rate: unit.cost for unit in (BYTES, ITEMS)}
HEAD = ("work", "archive", "rate", "ratio", "CPU", "of it", "p50 ms", "p99 ms", "peak MB", "others")


def table(results: Results) -> str:
    """Return a heading and a table for each section, after a line about the run."""
    host = ", ".join(f"{name} {value}" for name, value in results.host.items())
    about = f"Commit {results.commit}, {results.at}, {results.rounds} rounds, medians. {host}."
    parts = [f"### {name}\n\n{section(rows)}" for name, rows in results.sections.items() if rows]
    return "\n\n".join([about, *parts]) + "\n"


def section(rows: Sequence[Row]) -> str:
    """Return the rows of a section as a table; a column in which nothing was measured is left out."""
    every = [HEAD, *map(cells, rows)]
    kept = [column for column in zip(*every, strict=True) if any(column[1:])]
    body = [f"| {' | '.join(line)} |" for line in zip(*kept, strict=True)]
    return "\n".join([body[0], f"|{'---|' * len(kept)}", *body[1:]])


def cells(row: Row) -> tuple[str, ...]:
    """Return the cells of a row, in the columns' order."""
    figures = row.figures
    return (
        row.work,
        row.archive,
        number(figures, "rate", row.unit),
        ", ".join(f"{value:g} x {peer}" for peer, value in row.ratios.items()),
        number(figures, "cost", COSTS[row.unit].removeprefix("CPU ")),
        ", ".join(f"{name} {value:g}" for name, value in sorted(row.cpu.items(), key=lambda one: -one[1])),
        number(figures, "p50_ms"),
        number(figures, "p99_ms"),
        number(figures, "peak_mb"),
        number(figures, "others"),
    )


def number(figures: Mapping[str, float], name: str, unit: str = "") -> str:
    """Return a figure with its unit; nothing when it was not measured."""
    return f"{figures[name]:g} {unit}".replace(" /", "/").strip() if name in figures else ""


if __name__ == "__main__":
    for path in sys.argv[1:]:
        sys.stdout.write(f"{table(Results.read(Path(path).read_text(encoding='utf-8')))}\n")
