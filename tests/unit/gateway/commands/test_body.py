"""A REST request says in JSON what a command has, and nothing else."""

import json
from typing import Any

import pytest

from gateway.commands.body import BODY_BYTES, expect_json, request_in
from operators.access.principal import Principal
from operators.http.principal import RequestHead
from operators.http.problem import Problem
from tests.support.worlds.commands import FIRST_ID

LOOPBACK = Principal("local", "loopback", "peer address")
CHOOSE = {"id": FIRST_ID, "action": "choose", "why": "corrected", "instance": "1.2.3.1", "content": "a" * 64}


def head(**headers: str) -> RequestHead:
    named = {name.replace("_", "-"): [value] for name, value in headers.items()}
    return RequestHead("1.1", "127.0.0.1", named)


def test_a_request_is_read_and_asked_by_its_principal() -> None:
    request = request_in(json.dumps(CHOOSE).encode(), "1.2.3", LOOPBACK)

    assert (request.tenant, request.who, request.study_uid) == ("local", "loopback", "1.2.3")
    assert (request.command_id, request.action, request.why) == (FIRST_ID, "choose", "corrected")
    assert (request.instance, request.content, request.count) == ("1.2.3.1", "a" * 64, None)


def test_null_is_the_same_as_nothing() -> None:
    body = json.dumps(dict.fromkeys(("id", "action", "why", "count", "instance", "content"))).encode()

    assert request_in(body, "1.2.3", LOOPBACK) == request_in(b"{}", "1.2.3", LOOPBACK)


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
    "deep nesting": (b"[" * 5000, "bad-json"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_command_is_refused_without_repeating_it(what: str) -> None:
    body, reason = REFUSED[what]

    with pytest.raises(Problem) as raised:
        request_in(body, "1.2.3", LOOPBACK)

    assert (raised.value.status, raised.value.reason) == (400, reason)
    assert "director" not in raised.value.advice


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_is_expected(content_type: str) -> None:
    expect_json(head(content_type=content_type, content_length=str(BODY_BYTES)))


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
        expect_json(head(**headers))

    assert raised.value.status == status
