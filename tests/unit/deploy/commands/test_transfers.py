"""An administrator asks what came from whom, when, and what of it was refused."""

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from deploy.commands import transfers
from deploy.commands.output import table
from deploy.commands.transfers import HEADINGS, columns, latest, listed, period, print_transfers, total
from operators.catalog.projection import quarantine_row, transfer_row
from operators.catalog.rows import QuarantineRow, TransferRow
from operators.connectors.memory.catalog import MemoryCatalog, MemoryHiddenRows
from tests.support.worlds.catalog_histories import NOON, ended, numbered, quarantined, run

CT = {"peer": "ct1", "calling_ae": "CT1", "address": "10.1.0.7"}


def row(study: str = "1.2.1", transfer: str = "t1", second: int = 1, size: int | None = 1_000_000) -> TransferRow:
    event = replace(ended(study, transfer, second, instances=2), refused={"too-large": 1}, **CT)  # type: ignore[arg-type]
    return transfer_row(replace(event, size_bytes=size))


def held(name: str, transfer: str) -> QuarantineRow:
    return quarantine_row(replace(quarantined(name), transfer_id=transfer, calling_ae="CT1", reason="bad-sequence"))


def test_the_studies_of_a_transfer_are_added_and_its_refusals_are_not() -> None:
    (found,) = listed([row(), row("1.2.2", second=5)], [])

    assert (found.studies, found.instances, found.size_bytes) == (("1.2.1", "1.2.2"), 4, 2_000_000)
    assert found.refused == {"too-large": 1}
    assert found.ended_at == NOON + timedelta(seconds=5)


def test_bytes_that_are_not_known_of_a_study_are_not_known_of_the_transfer() -> None:
    (found,) = listed([row(), row("1.2.2", size=None)], [])

    assert found.size_bytes is None
    assert "?" in columns(found)


def test_a_transfer_that_stored_nothing_is_known_by_what_it_left_in_quarantine() -> None:
    found = listed([row(transfer="t1", second=99)], [held("a", "t2"), held("b", "t2"), held("c", "t1")])

    assert [(one.transfer_id, one.outcome, one.instances) for one in found] == [
        ("t1", "well", 4 // 2),
        ("t2", "refused", 0),
    ]
    assert found[1].refused == {"bad-sequence": 2}
    assert found[1].calling_ae == "CT1"


def test_a_transfer_without_a_study_is_listed_with_what_was_refused_of_it() -> None:
    event = replace(ended(None, instances=0), refused={"too-large": 1}, size_bytes=0, **CT)  # type: ignore[arg-type]
    (found,) = listed([transfer_row(event)], [held("a", "t1")])

    assert (found.studies, found.outcome, found.peer, found.refused) == ((), "refused", "ct1", {"too-large": 1})


def test_the_list_is_a_table_with_a_line_of_sums() -> None:
    found = listed([row()], [held("a", "t2")])

    text = table(HEADINGS, map(columns, found))
    assert {"ct1", "CT1", "10.1.0.7", "well", "refused", "1000000"} <= set(text.split())
    assert "1 too-large" in text
    assert total(found) == "2 transfers, 2 instances, 1.0 MB; 2 refused (1 too-large, 1 bad-sequence)."
    assert total([]) == "No transfer ended in this time."


def test_the_latest_transfers_are_listed_whatever_their_studies_and_whatever_else_was_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    catalog = MemoryCatalog()
    studies = [ended(f"1.2.{number}", "t2", second=2) for number in range(5)]
    refused = [replace(quarantined(f"{number}", 3), transfer_id="t3") for number in range(5)]
    later = [replace(quarantined(f"later {number}", 99), transfer_id="t4") for number in range(5)]
    run(catalog, [numbered([ended(transfer="t1", second=1), *studies, *refused, *later])])
    rows = MemoryHiddenRows(tables=catalog.tables)
    found = latest(rows, asked("--most", "2"), NOON, NOON + timedelta(seconds=9))

    assert [(one.transfer_id, len(one.studies), sum(one.refused.values())) for one in found] == [
        ("t3", 0, 5),
        ("t2", 5, 0),
        ("t1", 1, 0),
    ]
    print_transfers(found, 2, as_lines_of_json=False)
    printed = capsys.readouterr()
    assert "2 transfers, 5 instances" in printed.out
    assert printed.err == "There are more: these are the latest, by --most 2.\n"
    print_transfers(found, 3, as_lines_of_json=True)
    assert capsys.readouterr().err == ""


def asked(*arguments: str) -> Namespace:
    parser = ArgumentParser()
    transfers.COMMAND.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.mark.parametrize(
    ("arguments", "since", "until"),
    [
        ((), NOON - timedelta(hours=24), NOON),
        (("--since", "90m"), NOON - timedelta(minutes=90), NOON),
        (("--since", "0h"), NOON, NOON),
        (("--since", "7d"), NOON - timedelta(days=7), NOON),
        (("--from", "2026-01-01T00:00Z"), datetime(2026, 1, 1, tzinfo=UTC), NOON),
        (
            ("--since", "12h", "--to", "2026-01-02T06:00+00:00"),
            datetime(2026, 1, 1, 18, tzinfo=UTC),
            datetime(2026, 1, 2, 6, tzinfo=UTC),
        ),
    ],
)
def test_the_time_is_a_duration_or_two_moments(arguments: tuple[str, ...], since: datetime, until: datetime) -> None:
    assert period(asked(*arguments), NOON) == (since, until)
