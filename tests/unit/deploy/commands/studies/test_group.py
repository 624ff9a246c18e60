"""The arguments of a study command become a request, and its outcome a line."""

from dataclasses import replace
from uuid import UUID

import pytest

from deploy.commands.__main__ import main, make_parser
from deploy.commands.command import user_name
from deploy.commands.studies.group import request_of, told
from gateway.commands.giving import GivenCommand
from gateway.commands.request import ACTIONS, CommandRequest, check
from tests.support.worlds.commands import DELETED

MORE = {"expect": ["--count", "100"], "choose": ["--instance", "1.2.3.1", "--content", "a" * 64]}


def asked(action: str, *arguments: str) -> CommandRequest:
    given = ["studies", action, "1.2.3", "--why", "wrong archive", *MORE.get(action, []), *arguments]
    return request_of(action, make_parser().parse_args(given), "local")


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_can_be_asked_for(action: str) -> None:
    request = asked(action)

    check(request)
    assert (request.tenant, request.study_uid, request.action, request.why) == (
        "local",
        "1.2.3",
        action,
        "wrong archive",
    )


def test_the_arguments_of_an_action_are_those_of_its_request() -> None:
    assert asked("expect").count == 100
    assert (asked("choose").instance, asked("choose").content) == ("1.2.3.1", "a" * 64)


def test_who_asks_is_the_systems_user_unless_another_is_named() -> None:
    assert asked("delete").who == user_name() != ""
    assert asked("delete", "--who", "Dr. Who").who == "Dr. Who"


def test_a_command_has_an_id_before_it_is_given_so_that_it_can_be_given_again() -> None:
    first, second = asked("delete").command_id, asked("delete").command_id

    assert first != second
    assert str(UUID(first)) == first
    assert asked("delete", "--id", first).command_id == first


@pytest.mark.parametrize(
    "arguments",
    [
        ["delete", "1.2.3", "--why", "x", "--id", "7"],
        ["delete", "1.2.3", "--why", "x", "--id", "6BA7B810-9DAD-11D1-80B4-00C04FD430C8"],
        ["choose", "1.2.3", "--why", "x", "--instance", "1.2.3.1", "--content", "ab"],
        ["choose", "1.2.3", "--why", "x", "--instance", "1.2.3.1", "--content", "A" * 64],
    ],
)
def test_an_id_or_a_content_that_is_none_is_a_wrong_argument(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["studies", *arguments])

    assert refused.value.code == 2
    assert capsys.readouterr().err.startswith("usage:")


def test_a_tenant_can_be_named() -> None:
    assert asked("delete", "--tenant", "north").tenant == "north"


def test_the_line_says_what_became_of_the_command_and_not_why() -> None:
    given = GivenCommand(DELETED, is_repeat=False, note="the study was deleted before")

    assert told(given) == (
        f"delete is stored and published: study 1.2.3, id {DELETED.event_id}. Note: the study was deleted before"
    )
    assert told(replace(given, is_repeat=True, note="")) == (
        f"delete was given before, and is published again: study 1.2.3, id {DELETED.event_id}"
    )
