"""A study's life on the running stack: its history over REST is that on the command line, and names all of it in one order."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from deploy.commands.stow import store_file
from deploy.local.report import dicomweb_url
from deploy.local.running import RunningStack, wait_until
from tests.support.machine.study_commands import run_on_stack
from tests.support.worlds.reading import part10

STUDY = "1.2.97"
SOON_S = 90.0
WHY = "a test of histories"
CANARY = "Canary^Histories"

History = dict[str, Any]


class Life:
    """A study on a stack: what is sent of it, what is asked for, and its history."""

    def __init__(self, stack: RunningStack) -> None:
        self.stack = stack
        self.asked: list[tuple[str, str]] = []
        # The history when nothing had arrived yet.
        self.before: History = {}

    def send(self, number: int, name: str = CANARY) -> None:
        """Store an instance by a STOW-RS request of its own."""
        file = part10(
            PatientName=name,
            StudyInstanceUID=STUDY,
            SeriesInstanceUID=f"{STUDY}.1",
            SOPInstanceUID=f"{STUDY}.1.{number}",
        )
        assert store_file(dicomweb_url(self.stack.plan), b"", memoryview(file)).status in (200, 202)

    def ask(self, action: str, **arguments: str | int) -> str:
        """Send a command, and return its id."""
        said = {"action": action, "why": WHY, **arguments}
        given = httpx.post(f"{self.stack.api_url}/v1/studies/{STUDY}/commands", json=said, timeout=30)
        assert given.status_code == 201, given.text
        self.asked.append((action, given.json()["id"]))
        return str(given.json()["id"])

    def history(self, query: str = "limit=1000") -> History:
        answer = httpx.get(f"{self.stack.api_url}/v1/studies/{STUDY}/history?{query}", timeout=30)
        assert answer.status_code == 200, answer.text
        found: History = answer.json()
        return found

    def until(self, revision: int, holds: Callable[[History], bool] = lambda _: True) -> None:
        """Wait until the study has this revision as its last one, and it holds something more."""

        def is_there() -> bool:
            last = (values(self.history(), "revision") or [{"revision": 0}])[-1]
            return last["revision"] == revision and holds(last)

        wait_until(is_there, SOON_S, f"revision {revision} is not there")


def values(history: History, kind: str) -> list[dict[str, Any]]:
    return [entry for entry in history["entries"] if entry["kind"] == kind]


@pytest.fixture(scope="module")
def life(stack: RunningStack) -> Life:
    """A study with a late image, a conflict and a choice, that was deleted, restored, held and announced again."""
    found = Life(stack)
    found.ask("expect", count=2)
    wait_until(lambda: is_known(stack), SOON_S, "the command is not known")
    found.before = found.history()
    found.send(1)
    found.send(2)
    found.until(1)
    found.send(3)
    found.send(1, f"{CANARY}^Corrected")
    found.until(2)
    (conflict,) = values(found.history(), "conflict")
    found.ask("choose", instance=conflict["instance"], content=conflict["kept_beside"])
    found.until(3)
    found.ask("delete")
    found.until(4)
    found.ask("restore")
    found.until(5)
    found.ask("hold")
    again = found.ask("reprocess")
    found.until(5, lambda last: last["announced_again_by"] == again)
    return found


def is_known(stack: RunningStack) -> bool:
    return httpx.get(f"{stack.api_url}/v1/studies/{STUDY}/history", timeout=30).status_code == 200


def test_before_anything_has_arrived_the_history_is_what_was_asked_for(life: Life) -> None:
    assert [(entry["kind"], entry["count"]) for entry in life.before["entries"]] == [("command", 2)]


def test_the_whole_life_is_told_in_one_order(life: Life) -> None:
    history = life.history()
    entries = history["entries"]

    assert (history["deleted"], history["held"], history["total"]) == (False, True, len(entries))
    assert [entry["at"] for entry in entries] == sorted(entry["at"] for entry in entries)
    assert [(one["action"], one["id"]) for one in values(history, "command")] == life.asked
    assert [one["in_force"] for one in values(history, "command")] == [None, True, False, True, True, None]
    assert [(one["instances"], one["outcome"]) for one in values(history, "transfer")] == [(1, "well")] * 4
    assert [one["instances"] for one in values(history, "revision")] == [2, 3, 3, 0, 3]
    assert [one["revision"] for one in values(history, "due")] == [1, 2, 3, 4, 5]
    assert [one["signal"] for one in values(history, "due")] == ["expected", "quiet", *["commanded"] * 3]


def test_the_conflict_names_the_chosen_content_and_the_command(life: Life) -> None:
    (conflict,) = values(life.history(), "conflict")
    choose = values(life.history(), "command")[1]

    assert (conflict["instance"], conflict["differs_by"]) == (f"{STUDY}.1.1", "content")
    assert (conflict["shown"], conflict["chosen_by"]) == (choose["content"], choose["id"])
    transfers = [one["id"] for one in values(life.history(), "transfer")]
    assert {conflict["shown_transfer"], conflict["kept_transfer"]} <= set(transfers)


def test_the_command_line_tells_what_rest_does(life: Life) -> None:
    done = run_on_stack(life.stack, "studies", "history", STUDY, "--json")

    assert (done.returncode, done.stderr) == (0, f"On the local stack in {life.stack.folder.root}:\n")
    assert [json.loads(line) for line in done.stdout.splitlines()] == life.history()["entries"]


def test_pages_are_parts_of_the_whole(life: Life) -> None:
    whole = life.history()["entries"]

    assert [life.history(f"limit=4&offset={at}")["entries"] for at in (0, 4, 8)] == [whole[:4], whole[4:8], whole[8:12]]


def test_the_table_fits_a_terminal_and_says_what_holds(life: Life) -> None:
    done = run_on_stack(life.stack, "studies", "history", STUDY)
    lines = done.stdout.splitlines()

    assert max(map(len, lines)) <= 120
    assert lines[-1].startswith(f"Study {STUDY} of tenant local is on hold. Entries: ")
    assert WHY in done.stdout


def test_a_study_that_nobody_knows_is_an_error_that_says_so(life: Life) -> None:
    answer = httpx.get(f"{life.stack.api_url}/v1/studies/1.2.97.999/history", timeout=30)
    done = run_on_stack(life.stack, "studies", "history", "1.2.97.999")

    assert (answer.status_code, answer.json()["reason"]) == (404, "no-such-study")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing has arrived for study 1.2.97.999 of tenant local" in done.stderr


def test_a_web_page_of_another_origin_reads_no_history(life: Life) -> None:
    url = f"{life.stack.api_url}/v1/studies/{STUDY}/history"

    assert httpx.get(url, headers={"origin": "http://elsewhere.example"}, timeout=30).status_code == 403


def test_no_reason_is_in_a_log(life: Life) -> None:
    assert WHY.encode() not in b"".join(path.read_bytes() for path in life.stack.logs.rglob("*.log*"))
