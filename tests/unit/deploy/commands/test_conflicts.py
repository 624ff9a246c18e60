"""Operators see both contents of a conflict, and can save the bytes that the archive does not show."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.commands import conflicts
from deploy.commands.output import details
from operators.catalog.ports import ConflictPair
from operators.connectors.memory.catalog import MemoryCatalog, MemoryHiddenRows
from operators.stream.step import Record
from schemas.codec import encode
from schemas.events import Facts, InstanceStored
from schemas.topics import INSTANCE_STORED, record_key
from tests.support.worlds.catalog_histories import instance, numbered, run
from tests.support.worlds.reading import part10
from tests.support.worlds.stow import StowWorld, multipart, stow_world

FIRST, SECOND = part10(PatientName="Canary^One"), part10(PatientName="Canary^Two")


def conflicts_of(events: list[InstanceStored]) -> tuple[ConflictPair, ...]:
    catalog = MemoryCatalog()
    run(catalog, [[Record(INSTANCE_STORED.name, 0, 0, 0, record_key(event), encode(event)) for event in events]])
    return MemoryHiddenRows(tables=catalog.tables).conflicts(None, 9)


def test_the_content_that_is_not_shown_is_saved_as_it_was_received(tmp_path: Path) -> None:
    async def paths(world: StowWorld) -> list[Path]:
        await world.post(multipart(FIRST))
        await world.post(multipart(SECOND))
        return [path async for path in conflicts.save_contents(world.store, conflicts_of(world.instances), tmp_path)]

    async def test() -> list[Path]:
        async with stow_world(tmp_path) as world:
            return await paths(world)

    (path,) = asyncio.run(test())
    assert path.read_bytes() == SECOND
    assert path.name.startswith("local_1.2.3.1.1_")


def test_the_same_content_of_two_tenants_is_saved_into_two_files(tmp_path: Path) -> None:
    async def test() -> list[Path]:
        async with stow_world(tmp_path) as world:
            await world.post(multipart(FIRST))
            await world.post(multipart(SECOND))
            (found,) = conflicts_of(world.instances)
            other = replace(found, lost=replace(found.lost, tenant="other"))
            return [path async for path in conflicts.save_contents(world.store, (found, other), tmp_path)]

    first, second = asyncio.run(test())
    assert first.read_bytes() == second.read_bytes() == SECOND


def test_both_contents_are_described_and_no_patient_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    events = [
        instance(content=name, second=at, facts=Facts(patient_id=f"canary-{name}")) for at, name in enumerate("ab")
    ]
    (found,) = conflicts_of(events)
    conflicts.print_json([found])
    printed = capsys.readouterr().out
    line = json.loads(printed)

    assert (line["shown_hash"], line["kept_hash"], line["kind"]) == (
        events[0].data_hash,
        events[1].data_hash,
        "patient",
    )
    assert (line["instance"], line["study"]) == (events[0].sop_uid, events[0].study_uid)
    assert line["choose"] == (
        f"python -m deploy.commands studies choose {events[1].study_uid} --instance {events[1].sop_uid}"
        f" --content {events[1].data_hash} --tenant local --why REASON"
    )
    assert "canary" not in printed + details(conflicts.described(found))


def test_a_list_has_a_line_for_each_content_that_is_not_shown() -> None:
    catalog = MemoryCatalog()
    run(catalog, [numbered([instance(content=name, second=at) for at, name in enumerate("abc")])])
    found = MemoryHiddenRows(tables=catalog.tables).conflicts("local", 9)

    assert [pair.lost.kind for pair in found] == ["content", "content"]
