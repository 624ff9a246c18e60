"""The arguments of a policy command become a request, and its outcome a line."""

from dataclasses import replace

import pytest

from deploy.commands.__main__ import main, make_parser
from deploy.commands.command import user_name
from deploy.commands.policies.group import about, request_of, told, version_columns
from gateway.policies.putting import PutPolicy
from gateway.policies.request import PolicyRequest, check
from tests.support.worlds.policies import policy
from tests.support.worlds.processes.putting import OLD, PUT

VERSION = policy(OLD, version=3)


def asked(*arguments: str) -> PolicyRequest:
    given = ["policies", "put", "tiering", "age", "rules.json", "--why", PUT.why, *arguments]
    return request_of(make_parser().parse_args(given), PUT.document, "local")


def test_a_policy_can_be_put() -> None:
    check(asked())
    assert asked("--who", "loopback") == PUT
    assert asked().who == user_name()
    assert (asked("--tenant", "north").tenant, asked("--if-version", "0").if_version) == ("north", 0)


@pytest.mark.parametrize(
    "arguments",
    [
        ["put", "deletion", "age", "-", "--why", "x"],
        ["put", "tiering", "../age", "-", "--why", "x"],
        ["put", "tiering", "age", "-"],
        ["put", "tiering", "age", "-", "--why", "x", "--if-version", "-1"],
        ["put", "tiering", "age", "-", "--why", "x", "--if-version", "1000000"],
        ["show", "tiering", "age", "--version", "²"],
        ["show", "tiering", "age", "--version", "1", "--versions"],
        ["list", "--kind", "deletion"],
    ],
)
def test_wrong_arguments_are_a_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["policies", *arguments])

    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err.splitlines()[-1]


def test_the_line_says_what_became_of_the_rules_and_not_why() -> None:
    assert told(PutPolicy(VERSION, is_repeat=False)) == "tiering age: version 3 is stored and published"
    assert told(PutPolicy(VERSION, is_repeat=True)) == (
        "tiering age: version 3 has these rules already, and is published again"
    )


def test_a_version_says_who_put_it_and_cannot_control_a_terminal() -> None:
    version = replace(VERSION, why="full\x1b[2J")

    assert about(version) == "version 3, put by loopback at 2026-11-21 09:33:00Z: full?[2J"
    assert version_columns(version) == (3, 1, "loopback", version.occurred_at)
