"""A request for a policy is checked before anything is read, and the answer says what to do."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.policies.request import check
from operators.http.problem import Problem
from operators.policies.kinds import KINDS
from tests.support.worlds.processes.putting import PUT


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("if_version", [None, 0, 1, 999_999])
def test_every_kind_may_be_put_whatever_version_it_replaces(kind: str, if_version: int | None) -> None:
    check(replace(PUT, kind=kind, name="a" * 64, if_version=if_version))


BROKEN: dict[str, tuple[str, dict[str, Any]]] = {
    "a tenant with a slash": ("bad-tenant", {"tenant": "local/1.2"}),
    "another kind": ("bad-kind", {"kind": "deletion"}),
    "no name": ("bad-name", {"name": ""}),
    "a name that leads elsewhere": ("bad-name", {"name": "../age"}),
    "a name in capitals": ("bad-name", {"name": "Age"}),
    "a long name": ("bad-name", {"name": "a" * 65}),
    "nobody": ("bad-who", {"who": ""}),
    "no reason": ("bad-why", {"why": " "}),
    "a version below none": ("bad-version", {"if_version": -1}),
    "a version above all": ("bad-version", {"if_version": 1_000_000}),
    "the version True": ("bad-version", {"if_version": True}),
}


@pytest.mark.parametrize("how", BROKEN)
def test_what_cannot_be_put_is_refused(how: str) -> None:
    reason, changes = BROKEN[how]

    with pytest.raises(Problem) as raised:
        check(replace(PUT, **changes))

    assert (raised.value.status, raised.value.reason) == (400, reason)
    assert raised.value.advice
