"""A command's help is its docstring, and the arguments of every list are checked before anything is asked."""

from argparse import ArgumentParser, Namespace

import pytest

from deploy.commands.command import (
    DEFAULT_MOST,
    HIGHEST_MOST,
    OperatorCommand,
    add_list_arguments,
    add_tenant,
    add_who_and_why,
    user_name,
)


def parsed(*arguments: str) -> Namespace:
    parser = ArgumentParser("list", exit_on_error=True)
    add_list_arguments(parser)
    return parser.parse_args(arguments)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        parsed(*arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_the_help_of_a_command_is_the_first_line_of_its_function() -> None:
    def first(_: Namespace) -> None:
        """List what is held.

        Then more about it.
        """

    def silent(_: Namespace) -> None:
        """
        Show what is held.
        """

    assert OperatorCommand("list", first, add_tenant).summary == "List what is held."
    assert OperatorCommand("list", silent, add_tenant).summary == "Show what is held."


def test_a_list_is_of_all_tenants_as_a_table_and_of_limited_length_unless_asked_otherwise() -> None:
    assert vars(parsed()) == {"tenant": None, "json": False, "most": DEFAULT_MOST}
    assert vars(parsed("--tenant", "north-1", "--json", "--most", "5")) == {
        "tenant": "north-1",
        "json": True,
        "most": 5,
    }


@pytest.mark.parametrize("text", ["1", "1000", " 7 ", str(HIGHEST_MOST)])
def test_a_list_may_have_from_one_to_a_million_entries(text: str) -> None:
    assert parsed("--most", text).most == int(text)


@pytest.mark.parametrize("text", ["0", "-1", str(HIGHEST_MOST + 1), "many", "1.5", "", "1e3", "9" * 5000])
def test_any_other_length_is_refused_with_the_right_form(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, f"--most={text}")

    assert line == f"list: error: argument --most: {text!r} should be a whole number from 1 to 1000000"


@pytest.mark.parametrize("name", ["a", "local", "7", "north-1", "a" * 32])
def test_a_tenant_is_named_in_small_letters_digits_and_hyphens(name: str) -> None:
    assert parsed("--tenant", name).tenant == name


@pytest.mark.parametrize("name", ["", "A", "A B", "a" * 33, "a/b", "..", "a\n", "\u00e4"])
def test_any_other_tenant_is_refused_with_the_right_form(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, f"--tenant={name}")

    assert line == f"list: error: argument --tenant: {name!r} should be 1 to 32 of a-z, 0-9 and -"


def decided(*arguments: str) -> Namespace:
    parser = ArgumentParser("discard")
    add_who_and_why(parser)
    return parser.parse_args(arguments)


def test_whoever_decides_says_why_and_is_the_systems_user_unless_another_is_named() -> None:
    named, unnamed = decided("--why", "sent again", "--who", "Dr. Who"), decided("--why", "sent again")

    assert (named.who, named.why) == ("Dr. Who", "sent again")
    assert unnamed.who == user_name() != ""


@pytest.mark.parametrize(
    "arguments", [(), ("--why", " "), ("--why", "a\nb"), ("--why", "w" * 1025), ("--why", "x", "--who", "")]
)
def test_a_decision_without_a_reason_in_a_line_is_refused(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        decided(*arguments)

    assert "--wh" in capsys.readouterr().err
