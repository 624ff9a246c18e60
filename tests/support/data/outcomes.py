"""The outcome of every file of the corpus at both doors, read from tests/support/data/corpus_outcomes.toml."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

TABLE = Path(__file__).with_name("corpus_outcomes.toml")
# The statuses that both doors answer with: PS3.4 B.2.3, PS3.18 I.2.
STORED, WARNED, UNREADABLE = "0000", "B007", "C000"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one file; `why` is empty where there is nothing to explain.

    `stow` and `dimse` are the doors' statuses; `dimse` may also be refused (no context is accepted for it) or
    unsendable (none can be proposed). `sop_uid` is the data set's where the file meta names another.
    """

    becomes: Literal["stored", "quarantined"] = "stored"
    reason: str = ""
    warnings: tuple[str, ...] = ()
    stow: str = STORED
    dimse: str = STORED
    sop_uid: str = ""
    why: str = ""


@dataclass(frozen=True)
class Table:
    """The table of outcomes: exceptions by file, sets of files with one instance, files that repeat a content."""

    exceptions: dict[str, Outcome]
    instances: tuple[frozenset[str], ...]
    repeats: frozenset[str]

    def of(self, name: str) -> Outcome:
        """Return the outcome of a file, by its path below the corpus."""
        return self.exceptions.get(name, Outcome())

    @property
    def names(self) -> set[str]:
        """Return every file that the table names."""
        return self.exceptions.keys() | self.repeats | {name for names in self.instances for name in names}


@cache
def table() -> Table:
    """Read the table; raises ValueError when it names a file twice."""
    read = tomllib.loads(TABLE.read_text())
    named = [(name, outcome(group, name)) for group in read["files"] for name in names(group)]
    groups = [[*one["names"], *one.get("repeats", ())] for one in read["instance"]]
    for every in ([name for name, _ in named], [name for group in groups for name in group]):
        if twice := {name for name in every if every.count(name) > 1}:
            raise ValueError(f"named twice: {sorted(twice)}")
    repeats = frozenset(name for one in read["instance"] for name in one.get("repeats", ()))
    return Table(dict(named), tuple(map(frozenset, groups)), repeats)


def names(group: dict[str, Any]) -> list[str]:
    """Return the files of a group."""
    return [*group.get("names", ()), *group.get("sop_uids", ())]


def outcome(group: dict[str, Any], name: str) -> Outcome:
    """Return the outcome that a group of files has for one of them."""
    becomes = group.get("becomes", "stored")
    stow = group.get("status", STORED if becomes == "stored" else UNREADABLE)
    return Outcome(
        becomes=becomes,
        reason=group.get("reason", ""),
        warnings=tuple(group.get("warnings", ())),
        stow=stow,
        dimse=group.get("dimse", stow),
        sop_uid=group.get("sop_uids", {}).get(name, ""),
        why=group["why"],
    )


def unexpected(answers: Mapping[str, str], expected: Callable[[Outcome], str]) -> dict[str, tuple[str, str]]:
    """Return the answers that the table does not give, each with the one that it gives.

    A process that knows of two contents of one instance warns of the one that is not shown: of which, depends on the
    order of arrival.
    """
    several = frozenset[str]().union(*table().instances)
    wanted = {name: expected(table().of(name)) for name in answers}
    return {
        name: (answer, wanted[name])
        for name, answer in answers.items()
        if answer != wanted[name] and not (name in several and (answer, wanted[name]) == (WARNED, STORED))
    }


def corpus_files(corpus: Path) -> dict[str, Path]:
    """Return the DICOM files of a corpus by their paths below it, without its licences and its lists."""
    found = (path for path in sorted(corpus.rglob("*")) if path.is_file() and path.suffix != ".md")
    named = {str(path.relative_to(corpus)): path for path in found}
    return {name: path for name, path in named.items() if not name.startswith("LICENSES/")}
