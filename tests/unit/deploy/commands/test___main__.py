"""Every command is listed in a line, has help, and reports wrong arguments in a line."""

from pathlib import Path

import pytest

from deploy.commands.__main__ import COMMANDS, listing, main
from deploy.commands.sections import ADDRESSES

EVERY = [tuple(name.split()) for name, _ in listing()]
GROUPS = [(each.name,) for each in COMMANDS if (each.name,) not in EVERY]


def usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_without_arguments_every_command_is_listed_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0

    lines = capsys.readouterr().out.split("commands:\n")[1].splitlines()
    told = [line.strip().split("  ", 1) for line in lines]
    assert [tuple(name.split()) for name, _ in told] == EVERY
    assert all(len(does.split()) > 3 and does.endswith(".") for _, does in told)
    assert len({name for (name, *_) in EVERY}) == len(COMMANDS)


@pytest.mark.parametrize("arguments", [(), *GROUPS, *EVERY])
def test_every_group_and_command_has_help(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--help"])

    assert caught.value.code == 0
    assert f"usage: {' '.join(('python -m deploy.commands', *arguments))}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["quarantines"],
        ["quarantine"],
        ["quarantine", "release"],
        ["quarantine", "release", "abcd"],
        ["quarantine", "discard", "abcd", "--yes"],
        ["quarantine", "release", "abcd", "--why", ""],
        ["studies", "delete", "1.2.3", "--why", "one\ntwo"],
        ["studies", "delete", "1.2.3", "--why", "wrong", "--who", " "],
        ["quarantine", "show"],
        ["jobs", "resume"],
        ["jobs", "resume", "nothing"],
        ["quarantine", "list", "--most", "-1"],
        ["studies", "delete", "1.2.3"],
        ["studies", "delete", "--why", "wrong"],
        ["studies", "expect", "1.2.3", "--why", "the worklist says so"],
        ["studies", "expect", "1.2.3", "--why", "the worklist says so", "--count", "many"],
        ["studies", "choose", "1.2.3", "--why", "a corrected name", "--instance", "1.2.3.1"],
        ["studies", "delete", "1.2.3", "--why", "wrong", "--tenant", "A B"],
        ["quarantine", "list", "--tenant", "A B"],
        ["transfers", "--since", "12h", "--from", "2026-11-29"],
    ],
)
def test_wrong_arguments_are_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert usage_error(arguments, capsys).startswith("usage: python -m deploy.commands")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["quarantine", "list", "--most", "many"], "'many' should be a whole number from 1 to 1000000"),
        *(
            (["quarantine", "show", text], f"'{text}' should be a hash or its beginning: 4 to 64 of 0-9 and a-f")
            for text in ("00", "../../x", "AB" * 32)
        ),
        *(
            (
                ["quarantine", "release", "abcd", "--why", "good", "--stow-url", url],
                f"'{url}' should be a URL such as http://127.0.0.1",
            )
            for url in ("localhost:8060/dicomweb", "https://archive/dicomweb", "http://", "http://archive?x")
        ),
        *(
            (["transfers", "--since", text], "a number with s, m, h or d behind it, such as 90m")
            for text in ("", "h", "12", "1w", "9999999d")
        ),
        *(
            (["transfers", "--from", text], "a date or a time, such as")
            for text in ("", "yesterday", "2026-13-01", "9" * 99)
        ),
        *((["conflicts", "show", text], "should be a UID: numbers with dots") for text in ("x", "../1", "1.2\n")),
    ],
)
def test_a_wrong_value_is_refused_with_the_right_form(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line in usage_error(arguments, capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        ["quarantine", "list"],
        ["quarantine", "show", "abcd"],
        ["quarantine", "release", "abcd", "--why", "good"],
        ["quarantine", "discard", "abcd", "--yes", "--why", "bad"],
        ["conflicts", "list"],
        ["conflicts", "show", "1.2"],
        ["studies", "delete", "1.2.3", "--why", "wrong"],
        ["jobs", "list"],
        ["jobs", "resume", "catalog"],
        ["transfers"],
    ],
)
def test_each_command_needs_servers_to_work_with(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLUORO_DATA", str(tmp_path))
    for name in ADDRESSES:
        monkeypatch.delenv(name, raising=False)

    assert main(arguments) == 2
    assert "no stack runs on" in capsys.readouterr().err
