"""The history of a study is printed in sentences that fit a terminal, or as the JSON that REST answers with."""

import asyncio
import json
from argparse import Namespace
from unicodedata import east_asian_width

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deploy.commands.__main__ import make_parser
from deploy.commands.studies.history import latest, lines, print_history, summary
from deploy.errors import Failed
from operators.catalog.history.entries import History, HistoryEntry
from operators.connectors.memory.catalog import MemoryCatalog
from operators.connectors.memory.queries import MemoryQueries
from tests.support.worlds.catalog_histories import (
    CHOSEN,
    DELETED,
    FIRST,
    LIFE,
    NOON,
    SECOND,
    STUDY,
    numbered,
    run,
    told,
)


@pytest.fixture(scope="module")
def queries() -> MemoryQueries:
    catalog = MemoryCatalog()
    run(catalog, [numbered([event]) for event in LIFE])
    return MemoryQueries(rows=catalog.tables)


def sentences(queries: MemoryQueries, kind: str) -> list[str]:
    """Return what is told of the entries of a kind, each as one line."""
    found = (lines(entry) for entry in told(queries.rows).entries if entry.kind == kind)
    return [" ".join(line[32:] for line in each) for each in found]


def test_a_line_has_the_moment_the_kind_and_what_is_told(queries: MemoryQueries) -> None:
    due = next(entry for entry in told(queries.rows).entries if entry.kind == "due")

    assert lines(due) == [
        "2026-03-01 12:00:06Z  due       by signal released: 1 instance in 1 transfer since 2026-03-01 12:00:00Z; made revision 1"
    ]


def test_a_long_sentence_goes_on_below_its_beginning(queries: MemoryQueries) -> None:
    conflict = next(entry for entry in told(queries.rows).entries if entry.kind == "conflict")
    first, *others = lines(conflict)

    assert first.startswith("2026-03-01 12:00:20Z  conflict  instance ")
    assert others
    assert {line[:32] for line in others} == {" " * 32}


def test_each_kind_is_told_in_a_sentence(queries: MemoryQueries) -> None:
    assert sentences(queries, "due")[1].endswith("; nothing had changed")
    transfer, later = sentences(queries, "transfer")
    assert transfer.startswith(
        "1 instance, 1.0 kB from ct1 (CT1 to FLUORO, 10.1.0.7); began 2026-03-01 12:00:00Z, ended well; "
        "refused of it: 12 no-usable-uid, 1 too-large; in quarantine: "
    )
    assert transfer.count("(no-usable-uid, held)") == 10
    assert transfer.endswith("; transfer t1")
    assert later == (
        "1 instance, unknown size from an unnamed peer; began 2026-03-01 12:00:00Z, ended well; transfer t2"
    )
    (revision,) = sentences(queries, "revision")
    assert revision.startswith("1, by signal released: 1 instance, 1.0 kB, CT; digest ")
    assert "; announced again by command " in revision
    (conflict,) = sentences(queries, "conflict")
    assert conflict == (
        f"instance {FIRST.sop_uid} has two contents, another data set: {SECOND.data_hash[:12]} is shown, chosen by command "
        f"{CHOSEN.event_id}; {FIRST.data_hash[:12]} is kept beside it"
    )


def test_a_due_without_a_window_says_that_nothing_had_arrived(queries: MemoryQueries) -> None:
    entry = next(entry for entry in told(queries.rows).entries if entry.kind == "due")
    values = {**entry.values, "signal": "commanded", "instances": 0, "transfers": 0}

    (line,) = lines(HistoryEntry(entry.at, "due", values))
    assert line.endswith("by signal commanded: nothing had arrived; made revision 1")


def test_a_command_is_told_with_who_why_and_whether_it_holds(queries: MemoryQueries) -> None:
    found = sentences(queries, "command")

    assert found[0].startswith("expect 2 instances, asked for by an operator: a test (command ")
    assert found[1].startswith(f"choose content {SECOND.data_hash[:12]} of instance {SECOND.sop_uid}, asked for by ")
    assert found[2] == f"delete, asked for by an operator: a test (no longer in force, command {DELETED.event_id})"
    assert "(in force, command " in found[3]


@given(st.text(min_size=1, max_size=1024))
@example("漢" * 1024)
def test_no_line_has_more_than_120_columns_or_controls_the_terminal(why: str) -> None:
    values = {"id": DELETED.event_id, "action": "delete", "who": "w" * 64, "why": why, "in_force": True}

    for line in lines(HistoryEntry(NOON, "command", values)):
        assert sum(2 if east_asian_width(one) in "WF" else 1 for one in line) <= 120
        assert line.isprintable()


def test_a_reason_in_wide_characters_is_told_whole() -> None:
    values = {"id": DELETED.event_id, "action": "delete", "who": "w", "why": "漢字" * 512, "in_force": True}
    told_why = "".join(line[32:] for line in lines(HistoryEntry(NOON, "command", values)))

    assert told_why.count("漢字") == 512


def asked(*arguments: str) -> Namespace:
    return make_parser().parse_args(["studies", "history", *arguments])


def test_the_last_entries_are_printed_and_a_line_says_how_many_are_earlier(
    queries: MemoryQueries, capsys: pytest.CaptureFixture[str]
) -> None:
    options = asked(STUDY, "--most", "5")
    found = asyncio.run(latest(queries, "local", STUDY, options.most))
    print_history(found, STUDY, "local", options.most, as_lines_of_json=True)
    printed = capsys.readouterr()

    entries = [entry.as_json for entry in told(queries.rows).entries]
    assert [json.loads(line) for line in printed.out.splitlines()] == entries[-5:]
    assert printed.err == "There are 7 earlier entries: these are the latest, by --most 5.\n"
    print_history(told(queries.rows), STUDY, "local", 1000, as_lines_of_json=False)
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == summary(told(queries.rows), STUDY, "local")
    assert printed.err == ""


@pytest.mark.parametrize(
    ("states", "holds"),
    [
        ({}, "is neither deleted nor on hold"),
        ({"is_deleted": True}, "is deleted"),
        ({"is_held": True}, "is on hold"),
        ({"is_deleted": True, "is_held": True}, "is deleted and on hold"),
    ],
)
def test_the_last_line_says_what_holds_of_the_study(states: dict[str, bool], holds: str) -> None:
    found = History(total=12, entries=(), **{"is_deleted": False, "is_held": False, **states})

    assert summary(found, STUDY, "local") == f"Study {STUDY} of tenant local {holds}. Entries: 12. Times are in UTC."


def test_a_study_of_which_nothing_is_known_is_not_done_and_says_so(queries: MemoryQueries) -> None:
    with pytest.raises(Failed, match=r"nothing has arrived for study 1\.2\.99 of tenant local"):
        asyncio.run(latest(queries, "local", "1.2.99", 5))


@pytest.mark.parametrize("arguments", [("x",), (), (STUDY, "--most", "0"), (STUDY, "--tenant", "A")])
def test_wrong_arguments_are_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit):
        asked(*arguments)
