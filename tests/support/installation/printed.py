"""What docs/operations.md prints for servers of one's own: the rights of each process, and the lines that start it."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DOCUMENT = Path(__file__).parents[3] / "docs" / "operations.md"
NAMES = re.compile(r"`([^`]+)`")
# What the document names a process by, for each module that it starts.
PROCESSES = {
    "gateway": "gateway",
    "web origin": "deploy.web",
    "jobs": "deploy.flink.cluster",
    "commands": "deploy.commands",
    "rebuild": "pipelines.batch.rebuild",
    "replay": "pipelines.batch.replay",
    "verification": "pipelines.batch.verify",
    "`deploy.prepare`": "deploy.prepare",
}
STORE_COLUMN, BROKER_COLUMN = "S3 actions", "Kafka operations"


@dataclass(frozen=True)
class Clause:
    """What a process may do, such as WRITE, and where: with no place named, everywhere."""

    may: tuple[str, ...]
    places: tuple[str, ...]


def section(title: str) -> str:
    """Return the text of a section of the document."""
    found = re.search(rf"^## {title}\n(.*?)^## ", DOCUMENT.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert found, f"the document has no section {title}"
    return found[1]


def rights(column: str) -> dict[str, list[Clause]]:
    """Return the clauses of a column in the table of processes, by the module of the process."""
    rows = [line.strip("| ").split(" | ") for line in section("Servers of your own").splitlines() if line[:1] == "|"]
    heads = next(row for row in rows if row[0] == "process")
    place = heads.index(column)
    return {PROCESSES[row[0]]: [*_clauses(row[place])] for row in rows if row[0] in PROCESSES}


def _clauses(cell: str) -> Iterator[Clause]:
    """Yield the clauses of a cell: names that begin with a capital letter are rights, others, if in one word, places.

    An option is neither.
    """
    for text in cell.split("; "):
        names = [name for name in NAMES.findall(text) if " " not in name and not name.startswith("--")]
        if names:
            is_right = {name: name[0].isupper() for name in names}
            yield Clause(*(tuple(name for name in names if is_right[name] == wanted) for wanted in (True, False)))


@cache
def started() -> Mapping[str, Mapping[str, str]]:
    """Return the settings with which the document's example starts each module, those that are exported among them."""
    example = section("Servers of your own").partition("For example")[2].replace("\\\n", " ")
    exported: dict[str, str] = {}
    found: dict[str, Mapping[str, str]] = {}
    for line in re.findall(r"^    (.+)$", example, re.MULTILINE):
        words = shlex.split(line)
        settings = dict(word.split("=", 1) for word in words if re.match(r"FLUORO_\w+=", word))
        if words[0] == "export":
            exported |= settings
        else:
            found[words[words.index("-m") + 1]] = exported | settings
    return found


def queries() -> list[str]:
    """Return the SQL queries of the section of that name."""
    return re.findall(r"^```sql\n(.*?)^```", section("Six queries"), re.DOTALL | re.MULTILINE)
