"""A pytest plugin for the rows of the fault matrix (docs/guarantees.md), and their table at the end of a run.

    @pytest.mark.fault("F5", "the store's process stands still for 20 s")
    def test_senders_are_told_to_try_again_while_the_store_is_down(proof: Proof, healing: Healing) -> None:
        ...
        with healing.timed():
            (wait until everything works again)
        assert healing.audited(proof.wrong()) == {}

A row says, through the fixture `healing`, how many instances were lost and doubled, and how long the archive took to be
whole after the fault had ended. The text of a row may name parameters of its test: "{server} is killed". A row with
`full=True` takes minutes: it is skipped unless FLUORO_TEST_FAULTS is `full`, as `make faults` sets it.
"""

import os
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

IS_FULL = os.environ.get("FLUORO_TEST_FAULTS") == "full"
# How many instances are sent while a row's fault lasts.
INSTANCES = int(os.environ.get("FLUORO_TEST_INSTANCES", "500" if IS_FULL else "300"))
HEAD = ("fault", "how injected", "result", "lost", "doubled", "time to heal")


@dataclass
class Healing:
    """What became of the archive after a fault; None where a row does not say it."""

    lost: int | None = None
    doubled: int | None = None
    seconds: float | None = None

    @contextmanager
    def timed(self, since: float | None = None) -> Iterator[None]:
        """Take the time from the fault's end until everything works again, where the block ends.

        The fault has ended when the block begins, or at `since` by the monotonic clock.
        """
        began = time.monotonic() if since is None else since
        yield
        self.seconds = time.monotonic() - began

    def audited(self, wrong: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
        """Count what the auditor has found lost and doubled, and return its findings."""
        self.lost = len(wrong.get("lost", ())) + len(wrong.get("unindexed", ()))
        self.doubled = len(wrong.get("doubled", ()))
        return wrong


@dataclass(frozen=True)
class Row:
    """A row of the matrix as it came out."""

    fault: str
    how: str
    result: str
    healing: Healing = field(default_factory=Healing)

    @property
    def cells(self) -> tuple[str, ...]:
        """Return the texts of the table's columns."""
        counts = ("-" if count is None else str(count) for count in (self.healing.lost, self.healing.doubled))
        seconds = "-" if self.healing.seconds is None else f"{self.healing.seconds:.1f} s"
        return (self.fault, self.how, self.result, *counts, seconds)


HEALING = pytest.StashKey[Healing]()
ROWS = pytest.StashKey[list[Row]]()


def table(rows: Iterable[Row]) -> list[str]:
    """Return the lines of the table, in Markdown, by the number of the fault."""
    cells = [HEAD, *(row.cells for row in sorted(rows, key=lambda row: (int(row.fault[1:]), row.how)))]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [" | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in cells]
    return [f"| {line} |" for line in (lines[0], " | ".join("-" * width for width in widths), *lines[1:])]


def rows_of(item: pytest.Item, result: str) -> Iterator[Row]:
    """Yield the rows that a test is, with what it has said of them."""
    named = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    for mark in item.iter_markers("fault"):
        yield Row(mark.args[0], mark.args[1].format(**named), result, item.stash.get(HEALING, Healing()))


@pytest.fixture
def healing(request: pytest.FixtureRequest) -> Healing:
    """Return what a row fills in."""
    told = Healing()
    request.node.stash[HEALING] = told
    return told


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []
    config.addinivalue_line("markers", "fault(name, how, full=False): this test is a row of the fault matrix")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not IS_FULL and any(mark.kwargs.get("full") for mark in item.iter_markers("fault")):
            item.add_marker(pytest.mark.skip(reason="takes minutes: make faults"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" or (report.when == "setup" and not report.passed):
        item.config.stash[ROWS] += rows_of(item, report.outcome)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if rows := config.stash[ROWS]:
        terminalreporter.section("faults")
        for line in table(rows):
            terminalreporter.write_line(line)
