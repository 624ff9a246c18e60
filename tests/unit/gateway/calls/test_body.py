"""A REST call says in JSON what it has, and nothing else."""

import json
import re
from typing import Any

import pytest

from gateway.calls.body import expect_json, said_in
from gateway.calls.call import Call, CallAnswer, CallMade
from operators.http.principal import RequestHead
from operators.http.problem import Problem

BODY_BYTES = 1000
FIELDS = {"action": str, "count": int, "rules": list}


async def carry_out(made: CallMade) -> CallAnswer:
    return CallAnswer(200, made.said)


CALL = Call("a call", "POST", re.compile("/call"), BODY_BYTES, FIELDS, carry_out)


def head(**headers: str) -> RequestHead:
    named = {name.replace("_", "-"): [value] for name, value in headers.items()}
    return RequestHead("1.1", "127.0.0.1", named)


def test_what_is_said_is_read_and_null_is_the_same_as_nothing() -> None:
    assert said_in(json.dumps({"action": "a", "count": 7, "rules": None}).encode(), CALL) == {"action": "a", "count": 7}
    assert said_in(b"{}", CALL) == {}


REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "bad-json"),
    "a form": (b"action=delete&why=because", "bad-json"),
    "a list": (b"[]", "bad-json"),
    "half a character": (b'{"why": "\\ud83d"}', "bad-json"),
    "no UTF-8": (b'{"why": "\xe4"}', "bad-json"),
    "somebody else": (b'{"who": "the director"}', "unknown-field"),
    "another tenant": (b'{"tenant": "north"}', "unknown-field"),
    "a number for a text": (b'{"action": 7}', "bad-field"),
    "a text for a number": (b'{"count": "7"}', "bad-field"),
    "a text for a list": (b'{"rules": "7"}', "bad-field"),
    "deep nesting": (b"[" * 5000, "bad-json"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_said_so_is_refused_without_repeating_it(what: str) -> None:
    body, reason = REFUSED[what]

    with pytest.raises(Problem) as raised:
        said_in(body, CALL)

    assert (raised.value.status, raised.value.reason) == (400, reason)
    assert "director" not in raised.value.advice


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_is_expected(content_type: str) -> None:
    expect_json(head(content_type=content_type, content_length=str(BODY_BYTES)), BODY_BYTES)


UNEXPECTED: list[tuple[int, dict[str, str]]] = [
    (415, {}),
    # The three types that a form of any page may have.
    (415, {"content_type": "text/plain"}),
    (415, {"content_type": "application/x-www-form-urlencoded"}),
    (415, {"content_type": "multipart/form-data; boundary=x"}),
    (415, {"content_type": "text/plain; application/json"}),
    (415, {"content_type": "application/json", "content_encoding": "gzip"}),
    (413, {"content_type": "application/json", "content_length": str(BODY_BYTES + 1)}),
    (413, {"content_type": "application/json", "content_length": "9" * 5000}),
]


@pytest.mark.parametrize(("status", "headers"), UNEXPECTED)
def test_anything_else_is_refused_before_it_is_read(status: int, headers: dict[str, Any]) -> None:
    with pytest.raises(Problem) as raised:
        expect_json(head(**headers), BODY_BYTES)

    assert raised.value.status == status
