"""A request is checked before anything is stored, and the answer says what to do."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.commands.request import ACTIONS, CommandRequest, check
from operators.http.problem import Problem
from tests.support.worlds.commands import DELETE, FIRST_ID

ARGUMENTS: dict[str, dict[str, Any]] = {
    "expect": {"count": 100},
    "choose": {"instance": "1.2.3.1", "content": "a" * 64},
}


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_may_be_asked_for(action: str) -> None:
    check(replace(DELETE, action=action, command_id=FIRST_ID, **ARGUMENTS.get(action, {})))


@pytest.mark.parametrize(
    "why", ["x", "w" * 1024, "Ärztin: \u0641\u0631\u0632\u0646\u062f\u200c\u0647\u0627 \U0001f600"]
)
def test_a_reason_may_be_any_line(why: str) -> None:
    check(replace(DELETE, why=why))


BROKEN: dict[str, tuple[str, dict[str, Any]]] = {
    "a tenant with a slash": ("bad-tenant", {"tenant": "local/1.2"}),
    "no study": ("bad-uid", {"study_uid": ""}),
    "a study of letters": ("bad-uid", {"study_uid": "_commands"}),
    "a long UID": ("bad-uid", {"study_uid": "1." * 32 + "1"}),
    "another action": ("bad-action", {"action": "destroy"}),
    "an id that is no UUID": ("bad-id", {"command_id": "../../1"}),
    "an id in capitals": ("bad-id", {"command_id": FIRST_ID.upper()}),
    "nobody": ("bad-who", {"who": ""}),
    "a long name": ("bad-who", {"who": "w" * 257}),
    "no reason": ("bad-why", {"why": ""}),
    "a blank reason": ("bad-why", {"why": "  "}),
    "a reason of two lines": ("bad-why", {"why": "one\ntwo"}),
    "a reason with half a character": ("bad-why", {"why": "\ud83d"}),
    "a long reason": ("bad-why", {"why": "w" * 1025}),
    "a count that nobody asked for": ("arguments", {"count": 1}),
    "a content that nobody asked for": ("arguments", {"content": "a" * 64}),
    "expect without a count": ("arguments", {"action": "expect"}),
    "expect nothing": ("bad-count", {"action": "expect", "count": 0}),
    "expect too many": ("bad-count", {"action": "expect", "count": 2**31}),
    "expect True": ("bad-count", {"action": "expect", "count": True}),
    "choose without a content": ("arguments", {"action": "choose", "instance": "1.2.3.1"}),
    "choose a name": ("bad-instance", {"action": "choose", "instance": "first", "content": "a" * 64}),
    "choose the beginning of a hash": ("bad-content", {"action": "choose", "instance": "1.2", "content": "a" * 12}),
}


@pytest.mark.parametrize("how", BROKEN)
def test_what_cannot_be_carried_out_is_refused(how: str) -> None:
    reason, changes = BROKEN[how]
    request: CommandRequest = replace(DELETE, **changes)

    with pytest.raises(Problem) as raised:
        check(request)

    assert (raised.value.status, raised.value.reason) == (400, reason)
    assert raised.value.advice
