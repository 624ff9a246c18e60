"""Wherever the process that gives a command dies, the gateways complete within a minute what it left unfinished."""

from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from deploy.local.running import wait_until
from operators.connectors.postgres.hidden_rows import PostgresHiddenRows
from tests.support.data.generate import Volume, files
from tests.support.machine.processes import die_on_the_command_line, die_over_rest
from tests.support.machine.study_commands import events_of, object_of
from tests.support.proof import Proof

HEALED_S = 60.0
WHY = "a test of crashes"
# How long an intent without an object stays open, and a round of the outbox at most.
GIVEN_UP_S = 60.0 + 20.0
# The points at which a process dies, and how often the event is published in all.
POINTS = {"after_intent": 0, "after_put": 1, "after_event": 2, "after_done": 1}

# Gives a command with an id in a process of its own, which dies at a point.
Dies = Callable[[Proof, str, str, str], None]


@pytest.fixture(scope="module")
def study(proof: Proof, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A study that is stored."""
    paths = files(Volume(studies=1, slices=2, size=64, seed=390), tmp_path_factory.mktemp("sent"))
    assert proof.send(paths).complete
    return paths[0].parent.name


def settings(proof: Proof, point: str) -> dict[str, str]:
    return {**proof.archive.env, "FLUORO_INTAKE_FAILPOINT": point}


def on_the_command_line(proof: Proof, study: str, command_id: str, point: str) -> None:
    arguments = ("studies", "hold", study, "--why", WHY, "--who", "loopback", "--id", command_id)
    die_on_the_command_line(settings(proof, point), *arguments)


def over_rest(proof: Proof, study: str, command_id: str, point: str) -> None:
    said = {"id": command_id, "action": "hold", "why": WHY}
    die_over_rest(settings(proof, point), "POST", f"/v1/studies/{study}/commands", said)


def open_bytes(outbox: Path) -> int:
    return sum(path.stat().st_size for path in outbox.glob("*.jsonl"))


def is_cataloged(proof: Proof, study: str, command_id: str) -> bool:
    rows = PostgresHiddenRows(proof.archive.catalog("writer"))
    return UUID(command_id) in {row.command_id for row in rows.commands("local", study)}


@pytest.mark.parametrize("dies", [on_the_command_line, over_rest])
@pytest.mark.parametrize("point", POINTS)
def test_a_command_is_complete_within_a_minute_of_a_crash_or_was_never_given(
    point: str, dies: Dies, proof: Proof, study: str
) -> None:
    command_id = str(uuid4())
    dies(proof, study, command_id, point)

    def is_complete() -> bool:
        told.append(events_of(proof.archive, command_id))
        return len(told[-1]) == POINTS[point] and is_cataloged(proof, study, command_id) == bool(POINTS[point])

    told = list[list[tuple[str, str, str]]]()
    wait_until(is_complete, HEALED_S, "the command has not its events and its row")
    stored = object_of(proof.archive, study, command_id)
    assert (stored is not None) == bool(POINTS[point])
    assert set(told[-1]) == ({("hold", "loopback", WHY)} if stored else set())


def test_the_auditor_finds_nothing_wrong_after_all_these_crashes(proof: Proof) -> None:
    outbox = Path(proof.archive.env["FLUORO_INTAKE_OUTBOX_DIR"])
    wait_until(lambda: open_bytes(outbox) == 0, GIVEN_UP_S, "the outbox is not empty")

    assert proof.wrong() == {}
