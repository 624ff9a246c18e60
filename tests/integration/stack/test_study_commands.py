"""Commands about studies on the running stack: over REST and on the command line, one object and one event each."""

import json
from uuid import uuid4

import httpx
import pytest

from deploy.commands.stow import store_file
from deploy.local.report import dicomweb_url
from deploy.local.running import RunningStack
from tests.support.machine.study_commands import events_of, object_of, run_on_stack
from tests.support.worlds.reading import part10

WHY = "sent to the wrong archive"
CANARY = "Canary^Commands"


@pytest.fixture(scope="module")
def study(stack: RunningStack) -> str:
    """A study with two contents of one instance."""
    found = "1.2.91"
    for name in ("One", "Two"):
        file = part10(
            PatientName=f"{CANARY}^{name}",
            StudyInstanceUID=found,
            SeriesInstanceUID=f"{found}.1",
            SOPInstanceUID=f"{found}.1.1",
        )
        assert store_file(dicomweb_url(stack.plan), b"", memoryview(file)).status in (200, 202)
    return found


def post(stack: RunningStack, study_uid: str, said: dict[str, object], **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{stack.api_url}/v1/studies/{study_uid}/commands", json=said, headers=named, timeout=30)


def test_a_study_is_deleted_over_rest_by_an_object_and_an_event(stack: RunningStack, study: str) -> None:
    command_id = str(uuid4())

    first, again = (post(stack, study, {"id": command_id, "action": "delete", "why": WHY}) for _ in range(2))

    assert (first.status_code, again.status_code) == (201, 200), first.text
    assert again.json() == {**first.json(), "repeat": True}
    stored = object_of(stack, study, command_id)
    assert stored is not None
    assert (stored.action, stored.who, stored.why) == ("delete", "loopback", WHY)
    assert events_of(stack, command_id) == [("delete", "loopback", WHY)] * 2


def test_a_study_is_restored_on_the_command_line_by_an_object_and_an_event(stack: RunningStack, study: str) -> None:
    done = run_on_stack(stack, "studies", "restore", study, "--why", WHY, "--who", "ops", "--json")
    assert (done.returncode, done.stderr) == (0, f"On the local stack in {stack.folder.root}:\n")
    said = json.loads(done.stdout)

    stored = object_of(stack, study, said["id"])

    assert stored is not None
    assert (stored.action, stored.who, stored.occurred_at.isoformat()) == ("restore", "ops", said["occurred_at"])
    assert events_of(stack, said["id"]) == [("restore", "ops", WHY)]
    again = run_on_stack(stack, "studies", "restore", study, "--why", WHY, "--who", "ops", "--id", said["id"])
    assert "was given before" in again.stdout


def test_the_command_that_a_conflict_names_chooses_its_content(stack: RunningStack, study: str) -> None:
    unknown = post(
        stack, study, {"action": "choose", "why": WHY, "instance": f"{study}.1.1", "content": "f" * 64}
    ).json()
    hashes = [word.strip(",") for word in unknown["detail"].split() if len(word.strip(",")) == 64]

    done = run_on_stack(
        stack,
        *("studies", "choose", study, "--instance", f"{study}.1.1", "--content", hashes[0], "--why", WHY, "--json"),
    )

    assert (unknown["status"], unknown["reason"], len(hashes)) == (404, "no-such-content", 2)
    assert done.returncode == 0, done.stderr
    stored = object_of(stack, study, json.loads(done.stdout)["id"])
    assert stored is not None
    assert (stored.data_hash, bool(stored.instance)) == (hashes[0], True)


@pytest.mark.parametrize("origin", ["http://elsewhere.example", "http://localhost:1"])
def test_a_page_of_another_origin_deletes_nothing(stack: RunningStack, study: str, origin: str) -> None:
    refused = post(stack, study, {"action": "delete", "why": WHY}, origin=origin)
    asked = httpx.options(
        f"{stack.api_url}/v1/studies/{study}/commands",
        headers={"origin": origin, "access-control-request-method": "POST"},
    )

    assert (refused.status_code, refused.json()["reason"]) == (403, "origin")
    assert asked.status_code == 403
    assert "access-control-allow-origin" not in asked.headers


def test_what_cannot_be_done_is_a_line(stack: RunningStack, study: str) -> None:
    unknown = run_on_stack(stack, "studies", "delete", "1.2.999", "--why", WHY)
    no_reason = run_on_stack(stack, "studies", "delete", study, "--why", "")

    assert (unknown.returncode, no_reason.returncode) == (1, 2)
    assert "no instance of this study is stored" in unknown.stderr
    assert "should be a line of 1 to 1024 characters" in no_reason.stderr
