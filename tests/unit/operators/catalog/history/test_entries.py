"""The rows of a study tell its life: what came, what was made of it, what people asked for, and what of it holds."""

from dataclasses import fields, replace
from datetime import timedelta, timezone
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.catalog.history.entries import History, history_of
from operators.catalog.ports import HistoryRows
from operators.connectors.memory.catalog import MemoryCatalog
from schemas.events import Action, Event
from tests.support.worlds.catalog_histories import (
    CHOSEN,
    DELETED,
    FIRST,
    LIFE,
    NOON,
    SECOND,
    STUDY,
    choice,
    command,
    due,
    ended,
    instance,
    numbered,
    rows_of,
    run,
    told,
)


def of(*batches: list[Event]) -> History:
    """Return the history of the study after these batches."""
    catalog = MemoryCatalog()
    run(catalog, [numbered(batch) for batch in batches])
    return told(catalog.tables)


@pytest.fixture(scope="module")
def life() -> HistoryRows:
    catalog = MemoryCatalog()
    run(catalog, [numbered([event]) for event in LIFE])
    return rows_of(catalog.tables)


def values(history: History, kind: str) -> list[dict[str, Any]]:
    return [dict(entry.values) for entry in history.entries if entry.kind == kind]


def test_everything_that_has_happened_is_told_in_one_order(life: HistoryRows) -> None:
    history = history_of(life)

    assert [
        (entry.kind, (entry.at - NOON).total_seconds()) for entry in history.entries if entry.kind != "revision"
    ] == [
        ("transfer", 1),
        ("due", 6),
        ("command", 10),
        ("conflict", 20),
        ("transfer", 21),
        ("due", 30),
        ("command", 40),
        ("command", 50),
        ("command", 60),
        ("command", 70),
        ("command", 80),
    ]
    assert history.total == len(history.entries) == 12
    assert (history.is_deleted, history.is_held) == (False, True)


@given(st.randoms())
def test_the_order_does_not_depend_on_that_of_the_rows(life: HistoryRows, random: Random) -> None:
    assert history_of(shuffled(life, random)) == history_of(life)


def shuffled(rows: HistoryRows, random: Random) -> HistoryRows:
    lists: dict[str, Any] = {each.name: list(getattr(rows, each.name)) for each in fields(rows)[2:]}
    for found in lists.values():
        random.shuffle(found)
    return replace(rows, **lists)


def test_of_what_has_one_moment_causes_come_before_effects_and_ids_decide_the_rest() -> None:
    same = [command("hold"), command("delete"), due(number=2), due(number=1), ended(transfer="b"), ended(transfer="a")]
    history = of([instance(), instance(content="b"), *same])

    kinds = [entry.kind for entry in history.entries]
    assert kinds[:7] == ["command", "command", "conflict", "transfer", "transfer", "due", "due"]
    ids = [entry.values["id"] for entry in history.entries if "id" in entry.values]
    assert ids == [*sorted(ids[:2]), "a", "b", *sorted(ids[4:6])]


def test_a_transfer_tells_its_sender_its_counts_and_what_of_it_was_refused_and_why(life: HistoryRows) -> None:
    transfer, later = values(history_of(life), "transfer")
    quarantined = transfer.pop("quarantined")

    assert transfer == {
        "id": "t1",
        "peer": "ct1",
        "calling_ae": "CT1",
        "called_ae": "FLUORO",
        "address": "10.1.0.7",
        "outcome": "well",
        "began_at": NOON,
        "ended_at": NOON + timedelta(seconds=1),
        "instances": 1,
        "size_bytes": 1001,
        "refused": {"no-usable-uid": 12, "too-large": 1},
    }
    assert [(one["reason"], one["state"]) for one in quarantined] == [("no-usable-uid", "held")] * 10
    assert [one["content"] for one in quarantined] == sorted(one["content"] for one in quarantined)
    assert (later["id"], later["size_bytes"], later["refused"], later["quarantined"]) == ("t2", None, {}, [])


def test_a_due_tells_its_window_and_the_revision_that_it_made_or_that_nothing_had_changed(life: HistoryRows) -> None:
    first, second = values(history_of(life), "due")
    (revision,) = values(history_of(life), "revision")

    assert (first["signal"], first["revision"], second["signal"], second["revision"]) == ("released", 1, "quiet", None)
    assert (first["window_opened_at"], first["instances"], first["transfers"]) == (NOON, 1, 1)
    assert (revision["due"], revision["revision"], revision["signal"]) == (first["id"], 1, "released")
    assert (revision["instances"], revision["size_bytes"], revision["modalities"]) == (1, 1001, ["CT"])


def test_a_revision_tells_the_command_that_had_it_announced_again(life: HistoryRows) -> None:
    (revision,) = values(history_of(life), "revision")
    (reprocess,) = (one for one in values(history_of(life), "command") if one["action"] == "reprocess")

    assert revision["announced_again_by"] == reprocess["id"]


def test_a_conflict_tells_both_contents_and_the_command_that_has_chosen_the_shown_one(life: HistoryRows) -> None:
    assert values(history_of(life), "conflict") == [
        {
            "instance": FIRST.sop_uid,
            "differs_by": "content",
            "shown": SECOND.data_hash,
            "shown_transfer": "t2",
            "kept_beside": FIRST.data_hash,
            "kept_transfer": "t1",
            "chosen_by": CHOSEN.event_id,
        }
    ]
    (unchosen,) = values(of([FIRST, SECOND]), "conflict")
    assert (unchosen["shown"], unchosen["chosen_by"]) == (FIRST.data_hash, None)


def test_a_command_tells_who_why_its_arguments_and_whether_it_holds_now(life: HistoryRows) -> None:
    commands = {one["action"]: one for one in values(history_of(life), "command")}

    assert {action: one["in_force"] for action, one in commands.items()} == {
        "expect": None,
        "choose": True,
        "delete": False,
        "restore": True,
        "hold": True,
        "reprocess": None,
    }
    assert commands["delete"] == {
        "id": DELETED.event_id,
        "action": "delete",
        "who": "an operator",
        "why": "a test",
        "in_force": False,
    }
    assert commands["expect"]["count"] == 2
    assert (commands["choose"]["instance"], commands["choose"]["content"]) == (SECOND.sop_uid, SECOND.data_hash)


def test_of_several_choices_the_last_one_holds_also_where_it_repeats_an_earlier_one() -> None:
    history = of([FIRST, SECOND], [choice(SECOND, 30), choice(FIRST, 40), choice(SECOND, 50)])

    assert [one["in_force"] for one in values(history, "command")] == [False, False, True]
    assert values(history, "conflict")[0]["chosen_by"] == values(history, "command")[-1]["id"]


@pytest.mark.parametrize(
    ("actions", "states"),
    [
        ((), (False, False)),
        (("delete",), (True, False)),
        (("delete", "restore"), (False, False)),
        (("restore", "delete"), (True, False)),
        (("hold",), (False, True)),
        (("hold", "unhold", "delete"), (True, False)),
    ],
)
def test_what_holds_of_the_study_now_is_told(actions: tuple[Action, ...], states: tuple[bool, bool]) -> None:
    history = of([instance()], [command(action, second=at) for at, action in enumerate(actions)])

    assert (history.is_deleted, history.is_held) == states


def test_a_study_of_which_nothing_has_arrived_has_the_history_of_its_commands() -> None:
    history = of([command("expect", expected_instances=3)])

    assert [(entry.kind, entry.values["count"]) for entry in history.entries] == [("command", 3)]


def test_json_has_times_in_utc_with_six_digits() -> None:
    catalog = MemoryCatalog()
    run(catalog, [numbered([ended()])])
    rows = rows_of(catalog.tables, STUDY)
    abroad = replace(rows.transfers[0], ended_at=NOON.astimezone(timezone(timedelta(hours=2))))
    (entry,) = history_of(replace(rows, transfers=(abroad,))).entries

    assert list(entry.as_json)[:3] == ["at", "kind", "id"]
    assert entry.as_json["at"] == entry.as_json["ended_at"] == "2026-03-01T12:00:00.000000+00:00"
