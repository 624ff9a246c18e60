"""The results of a run: where and when it was measured, and its rows; written as JSON, and read again.

The JSON has `schema`, `at`, `commit`, `host`, `rounds` and, by section, the rows; tests/bench/report/rounds.py says what
a row holds.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from tests.bench.report.rounds import Row

SCHEMA = 1


@dataclass(frozen=True)
class Results:
    """The rows of every section of one run, and the facts of the machine that it ran on."""

    at: str
    commit: str
    host: Mapping[str, Any]
    rounds: int
    sections: Mapping[str, Sequence[Row]]

    def text(self) -> str:
        """Return the results as JSON, a line for each row."""
        head = json.dumps({"schema": SCHEMA, "at": self.at, "commit": self.commit, "host": self.host}, indent=1)
        sections = ",\n".join(f"{json.dumps(name)}: {lines(rows)}" for name, rows in self.sections.items())
        return f'{head[:-2]},\n "rounds": {self.rounds},\n "sections": {{\n{sections}\n}}}}\n'

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the results that text() returned; raises ValueError for another schema."""
        record = json.loads(text)
        if record.get("schema") != SCHEMA:
            raise ValueError(f"results of schema {record.get('schema')}, not {SCHEMA}")
        sections = {name: [Row(**row) for row in rows] for name, rows in record["sections"].items()}
        return cls(record["at"], record["commit"], record["host"], record["rounds"], sections)


def lines(rows: Sequence[Row]) -> str:
    """Return rows as a JSON array with a line for each."""
    return "[\n" + ",\n".join(json.dumps(asdict(row), ensure_ascii=False) for row in rows) + "\n]"


def latest(folder: Path) -> Results | None:
    """Return the latest results of each section that the files of a folder have; None when there are none."""
    every = sorted(
        (Results.read(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")), key=lambda one: one.at
    )
    sections = {name: rows for results in every for name, rows in results.sections.items()}
    return replace(every[-1], sections=sections) if every else None
