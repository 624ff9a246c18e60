"""Refused and conflicting instances on the running stack, from STOW to the operators' commands."""

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.commands.stow import StowReply, store_file
from deploy.demo.dicomweb import Archive
from deploy.local.report import dicomweb_url
from deploy.local.running import RunningStack, wait_until
from operators.dicom.part10 import part10_prefix, split_part10
from tests.support.machine.study_commands import run_command, run_on_stack
from tests.support.worlds.reading import part10

SOON_S = 60.0
EXPLICIT = "1.2.840.10008.1.2.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
CANARY = "Canary^Sixteen"
WHY = ("--why", "a test")


@pytest.fixture(scope="module")
def base(stack: RunningStack) -> str:
    return dicomweb_url(stack.plan)


def post(base: str, file: bytes) -> StowReply:
    return store_file(base, b"", memoryview(file))


def listed(stack: RunningStack, group: str, *arguments: str) -> list[dict[str, Any]]:
    done = run_on_stack(stack, group, "list", "--json", "--tenant", "local", *arguments)
    assert (done.returncode, done.stderr) == (0, stack_line(stack))
    return [json.loads(line) for line in done.stdout.splitlines()]


def stack_line(stack: RunningStack) -> str:
    return f"On the local stack in {stack.folder.root}:\n"


def quarantined_row(stack: RunningStack, size_bytes: int, state: str = "held") -> dict[str, Any]:
    """Return the row of the quarantined object of `size_bytes`, once it is in this state."""
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        rows = listed(stack, "quarantine", "--all")
        found[:] = [row for row in rows if (row["size_bytes"], row["state"]) == (size_bytes, state)]
        return bool(found)

    wait_until(is_there, SOON_S, f"nothing is {state}")
    return found[0]


def found(base: str, study_uid: str) -> list[dict[str, Any]]:
    return Archive(base).find(study_uid)


def test_a_mismatch_is_kept_shown_and_released(stack: RunningStack, base: str, tmp_path: Path) -> None:
    uids: dict[str, Any] = {
        "StudyInstanceUID": "1.2.81",
        "SeriesInstanceUID": "1.2.81.1",
        "SOPInstanceUID": "1.2.81.1.1",
    }
    file = part10(PatientName=CANARY, **uids)
    sent = part10_prefix(MR, "1.2.81.1.1", EXPLICIT) + file[split_part10(file).prefix_length :]
    refused = post(base, sent)
    row = quarantined_row(stack, len(sent))
    saved = tmp_path / "kept.dcm"

    assert (refused.status, row["reason"]) == (409, "sop-class-mismatch")
    assert run_on_stack(stack, "quarantine", "show", row["data_hash"][:12], "--save", str(saved)).returncode == 0
    assert saved.read_bytes() == sent
    assert row["data_hash"][:12] in run_on_stack(stack, "quarantine", "list").stdout
    released = run_on_stack(stack, "quarantine", "release", row["data_hash"], *WHY)
    assert (released.returncode, released.stderr) == (0, stack_line(stack))
    quarantined_row(stack, len(sent), "released")
    wait_until(lambda: len(found(base, "1.2.81")) == 1, SOON_S, "what was released is not found")
    (returned,) = Archive(base).instances("1.2.81")
    back = returned.buffer.getvalue()
    assert back[split_part10(back).prefix_length :] == file[split_part10(file).prefix_length :]
    assert run_on_stack(stack, "quarantine", "release", row["data_hash"], *WHY).returncode == 1


def test_an_unreadable_instance_is_kept_cannot_be_released_and_is_discarded(
    stack: RunningStack, base: str, tmp_path: Path
) -> None:
    sent = part10(PatientName=CANARY, SOPInstanceUID="1.2.82.1.8").replace(b"1.2.82.1.8", b"1.2/82.1.8")
    statuses = {post(base, sent).status for _ in range(2)}
    row = quarantined_row(stack, len(sent))
    saved = tmp_path / "kept.dcm"

    assert (statuses, row["reason"], row["state"]) == ({409}, "no-usable-uid", "held")
    refused = run_on_stack(stack, "quarantine", "release", row["data_hash"], *WHY)
    assert refused.returncode == 1
    assert "no-usable-uid" in refused.stderr
    assert run_on_stack(stack, "quarantine", "show", row["data_hash"], "--save", str(saved)).returncode == 0
    assert saved.read_bytes() == sent
    assert run_on_stack(stack, "quarantine", "discard", row["data_hash"], *WHY).returncode == 1
    assert run_on_stack(stack, "quarantine", "discard", row["data_hash"], "--yes", *WHY).returncode == 0
    quarantined_row(stack, len(sent), "discarded")
    assert run_on_stack(stack, "quarantine", "show", row["data_hash"], "--save", str(tmp_path / "gone")).returncode == 1


def test_a_conflicting_content_is_kept_listed_and_saved_to_a_file(
    stack: RunningStack, base: str, tmp_path: Path
) -> None:
    uids: dict[str, Any] = {
        "StudyInstanceUID": "1.2.83",
        "SeriesInstanceUID": "1.2.83.1",
        "SOPInstanceUID": "1.2.83.1.1",
    }
    first, second = (part10(PatientName=CANARY, PatientID=name, **uids) for name in ("Canary1", "Canary2"))
    assert [post(base, file).status for file in (first, second, first)] == [200, 202, 200]

    def conflicts() -> list[dict[str, Any]]:
        return [row for row in listed(stack, "conflicts") if row["study"] == "1.2.83"]

    wait_until(lambda: len(conflicts()) == 1, SOON_S, "no conflict is listed")
    (row,) = conflicts()
    done = run_on_stack(stack, "conflicts", "show", "1.2.83.1.1", "--save", str(tmp_path / "lost"))
    (lost,) = (tmp_path / "lost").iterdir()

    assert (row["kind"], done.returncode) == ("patient", 0)
    assert lost.read_bytes() == second
    assert "1.2.83.1.1" in run_on_stack(stack, "conflicts", "list").stdout
    assert run_on_stack(stack, "conflicts", "show", "1.2.83.1.2").returncode == 1


def test_beside_a_cluster_the_commands_need_only_variables(stack: RunningStack, base: str, tmp_path: Path) -> None:
    sent = part10(PatientName=CANARY, SOPInstanceUID="1.2.84.1.88").replace(b"1.2.84.1.88", b"1.2/84.1.88")
    assert post(base, sent).status == 409
    row = quarantined_row(stack, len(sent))
    variables = {"FLUORO_DATA": str(tmp_path), **stack.plan.settings("writer")}
    saved = tmp_path / "kept.dcm"
    shown = run_command(variables, "quarantine", "show", row["data_hash"], "--json", "--save", str(saved))
    reader = run_command(variables | stack.env, "quarantine", "list")
    refused = run_command(variables, "quarantine", "release", row["data_hash"], "--stow-url", base, *WHY)
    discarded = run_command(variables, "quarantine", "discard", row["data_hash"], "--yes", *WHY)

    assert (shown.returncode, json.loads(shown.stdout)["data_hash"]) == (0, row["data_hash"])
    assert saved.read_bytes() == sent
    assert (reader.returncode, reader.stdout, "should be writer" in reader.stderr) == (2, "", True)
    assert (refused.returncode, "no-usable-uid" in refused.stderr) == (1, True)
    assert (discarded.returncode, discarded.stderr) == (0, "")
    quarantined_row(stack, len(sent), "discarded")
