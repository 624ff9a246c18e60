"""Wherever the process that puts a policy dies, the gateways publish within a minute what it stored."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.running import RunningStack, wait_until
from operators.connectors.s3.store import S3ObjectStore
from operators.store.policies import POLICIES
from schemas.events import PolicyChanged
from schemas.objects import policy_key
from schemas.settings.reading import load
from schemas.settings.servers import StoreSettings
from tests.support.machine.processes import die_on_the_command_line, die_over_rest
from tests.support.machine.study_commands import run_on_stack
from tests.support.proof import Proof

HEALED_S = 60.0
WHY = "a test of crashes"
# How long an intent without an object stays open, and a round of the outbox at most.
GIVEN_UP_S = 60.0 + 20.0
# The points at which a process dies, and how often the event is published in all.
POINTS = {"after_intent": 0, "after_put": 1, "after_event": 2, "after_done": 1}

# Puts a policy of this name in a process of its own, which dies at a point.
Dies = Callable[[Proof, str, str, Path], None]


def rules_for(name: str) -> dict[str, object]:
    return {"rules": [{"name": "all", "then": {"model": name, "version": "1"}}]}


def on_the_command_line(proof: Proof, name: str, point: str, folder: Path) -> None:
    (folder / "rules.json").write_text(json.dumps(rules_for(name)))
    arguments = ("policies", "put", "inference", name, str(folder / "rules.json"), "--why", WHY, "--who", "loopback")
    die_on_the_command_line({**proof.archive.env, "FLUORO_INTAKE_FAILPOINT": point}, *arguments)


def over_rest(proof: Proof, name: str, point: str, _: Path) -> None:
    settings = {**proof.archive.env, "FLUORO_INTAKE_FAILPOINT": point}
    die_over_rest(settings, "PUT", f"/v1/policies/inference/{name}", {**rules_for(name), "why": WHY})


def object_of(stack: RunningStack, name: str) -> PolicyChanged | None:
    """Return the first version of a policy in the store, None if there is none."""

    async def read() -> PolicyChanged | None:
        async with S3ObjectStore(load(StoreSettings, stack.env)) as store:
            return await POLICIES.find(store, policy_key("local", "inference", name, 1))

    return asyncio.run(read())


def events_of(stack: RunningStack, name: str) -> list[tuple[int, str, str]]:
    """Return version, who and why of each event of a policy, as the topic's command prints them."""
    done = run_on_stack(stack, "topics", "read", "policy-changed", "--json", "--patient-data")
    assert done.returncode == 0, done.stderr
    values = [json.loads(line)["value"] for line in done.stdout.splitlines()]
    return [(value["version"], value["who"], value["why"]) for value in values if value["name"] == name]


def open_bytes(outbox: Path) -> int:
    return sum(path.stat().st_size for path in outbox.glob("*.jsonl"))


@pytest.mark.parametrize("dies", [on_the_command_line, over_rest])
@pytest.mark.parametrize("point", POINTS)
def test_a_policy_is_published_within_a_minute_of_a_crash_or_was_never_put(
    point: str, dies: Dies, proof: Proof, tmp_path: Path
) -> None:
    name = f"{point}-{dies.__name__}".replace("_", "-")
    dies(proof, name, point, tmp_path)

    def is_complete() -> bool:
        told.append(events_of(proof.archive, name))
        return len(told[-1]) == POINTS[point]

    told = list[list[tuple[int, str, str]]]()
    wait_until(is_complete, HEALED_S, "the policy has not its events")
    stored = object_of(proof.archive, name)
    assert (stored is not None) == bool(POINTS[point])
    assert set(told[-1]) == ({(1, "loopback", WHY)} if stored else set())


def test_a_policy_that_was_put_is_shown_and_the_same_rules_are_no_new_version(proof: Proof, tmp_path: Path) -> None:
    stack, file = proof.archive, tmp_path / "rules.json"
    file.write_text(json.dumps({"rules": [{"name": "all", "then": {"model": "lung", "version": "1"}}]}))
    put = ("policies", "put", "inference", "lung", str(file), "--why", WHY, "--who", "ops")

    first, again = (run_on_stack(stack, *put) for _ in range(2))
    other = run_on_stack(stack, *put, "--if-version", "7", "--json")
    file.write_text('{"rules": [{"name": "A"}]}')
    wrong = run_on_stack(stack, *put)
    listed = run_on_stack(stack, "policies", "list", "--kind", "inference", "--json")
    shown = run_on_stack(stack, "policies", "show", "inference", "lung")

    assert first.stdout == "inference lung: version 1 is stored and published\n", first.stderr
    assert again.stdout == "inference lung: version 1 has these rules already, and is published again\n"
    assert json.loads(other.stdout)["repeat"] is True
    assert (wrong.returncode, wrong.stderr.splitlines()[-1]) == (
        1,
        "rule 1: its name has 1 to 64 of a-z, 0-9 and -, and does not begin with -",
    )
    assert "lung" in {json.loads(line)["name"] for line in listed.stdout.splitlines()}
    assert json.loads(shown.stdout) == {"rules": [{"name": "all", "then": {"model": "lung", "version": "1"}}]}
    assert "version 1, put by ops at " in shown.stderr
    assert events_of(stack, "lung") == [(1, "ops", WHY)] * 3


def test_the_auditor_finds_nothing_wrong_after_all_these_crashes(proof: Proof) -> None:
    outbox = Path(proof.archive.env["FLUORO_INTAKE_OUTBOX_DIR"])
    wait_until(lambda: open_bytes(outbox) == 0, GIVEN_UP_S, "the outbox is not empty")

    assert proof.wrong() == {}
