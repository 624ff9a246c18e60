"""What keeps a command from being given is said in a line, with what to do."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.commands.studies.giving import give_on
from deploy.errors import Failed
from gateway.intake.lifespan import Connectors
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore, Outage
from schemas.settings.intake import IntakeSettings
from schemas.topics import STUDY_COMMAND
from tests.support.worlds.commands import DELETE, FIRST_ID
from tests.support.worlds.gateway import intake_in

EXPECT = replace(DELETE, action="expect", count=100, command_id=FIRST_ID)


@pytest.fixture
def intake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IntakeSettings:
    monkeypatch.setattr("gateway.intake.lifespan.STOP_S", 0.01)
    return intake_in(tmp_path)


def test_a_command_is_given_and_leaves_no_journal(intake: IntakeSettings) -> None:
    events = MemoryEventLog()

    given = asyncio.run(give_on(Connectors(MemoryObjectStore(), events), intake, EXPECT))

    assert events.events(STUDY_COMMAND) == [given.command]
    assert list(intake.outbox_dir.iterdir()) == []


def test_a_request_that_cannot_be_carried_out_fails_with_what_to_do(intake: IntakeSettings) -> None:
    with pytest.raises(Failed, match=r"no instance of this study is stored: look at its UID"):
        asyncio.run(give_on(Connectors(MemoryObjectStore(), MemoryEventLog()), intake, DELETE))


def test_when_a_server_does_not_answer_the_line_names_the_id_to_repeat(intake: IntakeSettings) -> None:
    store, events = MemoryObjectStore(), MemoryEventLog(outage=Outage.REFUSES)

    with pytest.raises(Failed, match=f"the broker does not answer, and perhaps .* --id {FIRST_ID}"):
        asyncio.run(give_on(Connectors(store, events), intake, EXPECT))

    events.outage = Outage.NONE
    assert asyncio.run(give_on(Connectors(store, events), intake, EXPECT)).is_repeat


def test_without_a_folder_for_its_outbox_no_command_is_given(intake: IntakeSettings) -> None:
    intake.outbox_dir.write_text("a file")
    store = MemoryObjectStore()

    with pytest.raises(Failed, match=r"no file can be made in .*: name a folder by FLUORO_INTAKE_OUTBOX_DIR"):
        asyncio.run(give_on(Connectors(store, MemoryEventLog()), intake, EXPECT))

    assert store.objects == {}
