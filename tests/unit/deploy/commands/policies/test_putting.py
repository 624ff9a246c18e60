"""A policy is put from a file or from standard input, and each problem of its rules is a line."""

import asyncio
import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.commands.policies.putting import document_in, document_text, put_on
from deploy.errors import Failed
from gateway.intake.lifespan import Connectors
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore, Outage
from operators.policies.document import rules_in
from schemas.settings.intake import IntakeSettings
from schemas.topics import POLICY_CHANGED
from tests.support.worlds.gateway import intake_in
from tests.support.worlds.policies import rule, texts
from tests.support.worlds.processes.putting import PUT


@pytest.fixture
def intake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IntakeSettings:
    monkeypatch.setattr("gateway.intake.lifespan.STOP_S", 0.01)
    return intake_in(tmp_path)


def test_a_document_is_read_from_a_file_or_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "age.json").write_bytes(PUT.document)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(PUT.document)))

    assert document_in(str(tmp_path / "age.json")) == document_in("-") == PUT.document


def test_a_file_that_is_not_there_is_a_line(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"age\.json cannot be read: No such file or directory"):
        document_in(str(tmp_path / "age.json"))


def test_a_standard_input_that_is_closed_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(Failed, match="closed: name a file"):
        document_in("-")


def test_a_policy_is_put_and_leaves_no_journal(intake: IntakeSettings) -> None:
    servers = Connectors(MemoryObjectStore(), events := MemoryEventLog())

    done = asyncio.run(put_on(servers, intake, PUT))

    assert events.events(POLICY_CHANGED) == [done.policy]
    assert list(intake.outbox_dir.iterdir()) == []


def test_each_problem_of_the_rules_is_a_line(intake: IntakeSettings) -> None:
    request = replace(PUT, document=b'{"rules": [{"name": "a", "then": {"tier": "lost"}}, {"name": "B"}]}')

    with pytest.raises(Failed) as raised:
        asyncio.run(put_on(Connectors(MemoryObjectStore(), MemoryEventLog()), intake, request))

    assert [line.split(":")[0] for line in str(raised.value).splitlines()] == ["rule 1", "rule 2"]


def test_another_version_than_the_one_looked_at_is_a_line(intake: IntakeSettings) -> None:
    with pytest.raises(Failed, match="there is no version yet: look at it, and put again"):
        asyncio.run(put_on(Connectors(MemoryObjectStore(), MemoryEventLog()), intake, replace(PUT, if_version=7)))


def test_when_a_server_does_not_answer_the_same_rules_can_be_put_again(intake: IntakeSettings) -> None:
    servers = Connectors(MemoryObjectStore(), events := MemoryEventLog(outage=Outage.REFUSES))

    with pytest.raises(Failed, match="the broker does not answer, and perhaps the version is stored already"):
        asyncio.run(put_on(servers, intake, PUT))

    events.outage = Outage.NONE
    assert asyncio.run(put_on(servers, intake, PUT)).is_repeat


@pytest.mark.parametrize("count", [1, 150])
def test_what_show_prints_can_be_put_again(tmp_path: Path, count: int) -> None:
    codes = [f"M{place}" for place in range(200)]
    rules = tuple(rule(f"r{place}", texts("modality", *sorted(codes)), tier="hot") for place in range(count))
    file = tmp_path / "shown.json"
    file.write_text(document_text(rules) + "\n")

    assert rules_in("tiering", document_in(str(file))) == rules
