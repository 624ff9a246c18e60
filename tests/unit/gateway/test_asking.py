"""A request says who asks and why; it is checked by what all requests keep, then by its own rules."""

from dataclasses import dataclass

import pytest

from gateway.asking import Rule, check, is_line
from operators.http.problem import Problem


@dataclass(frozen=True)
class Question:
    """Any request."""

    tenant: str = "local"
    who: str = "loopback"
    why: str = "because"


OWN: tuple[Rule[Question], ...] = (("long", "ask for less", lambda it: len(it.why) < 10),)


def test_a_request_that_keeps_all_rules_is_accepted() -> None:
    check(Question(), OWN)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (Question(tenant="a/b"), "bad-tenant"),
        (Question(who=""), "bad-who"),
        (Question(why="one\ntwo"), "bad-why"),
        (Question(why="because of all"), "long"),
    ],
)
def test_the_first_rule_that_is_broken_is_named(asked: Question, reason: str) -> None:
    with pytest.raises(Problem) as raised:
        check(asked, OWN)

    assert (raised.value.status, raised.value.reason) == (400, reason)


@pytest.mark.parametrize(
    ("text", "is_one"), [("x", True), ("xxxx", False), ("", False), ("  ", False), ("a\tb", False), ("\ud83d", False)]
)
def test_a_line_says_something_and_has_no_control_character(text: str, is_one: object) -> None:
    assert is_line(text, 3) is is_one
