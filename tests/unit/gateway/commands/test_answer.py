"""The answer has what a program needs to go on, and not the reason, which may name a patient."""

from dataclasses import replace

from gateway.commands.answer import answer
from gateway.commands.giving import GivenCommand
from tests.support.worlds.commands import DELETED, FIRST_ID


def test_an_answer_names_the_command_and_leaves_out_what_it_does_not_have() -> None:
    assert answer(GivenCommand(DELETED, is_repeat=False)) == {
        "id": FIRST_ID,
        "tenant": "local",
        "study": "1.2.3",
        "action": "delete",
        "who": "loopback",
        "occurred_at": "2026-11-01T12:00:00.123456+00:00",
        "repeat": False,
    }


def test_an_answer_has_the_arguments_and_the_note_that_there_are() -> None:
    command = replace(DELETED, action="expect", expected_instances=100)

    said = answer(GivenCommand(command, is_repeat=True, note="the study was deleted before"))

    assert (said["count"], said["repeat"], said["note"]) == (100, True, "the study was deleted before")
