"""The answer says which version is in force, and not why, which may name a patient."""

from gateway.policies.answer import answer
from gateway.policies.putting import PutPolicy
from tests.support.worlds.policies import policy


def test_an_answer_names_the_version() -> None:
    version = policy(version=3)

    assert answer(PutPolicy(version, is_repeat=True)) == {
        "id": version.event_id,
        "tenant": "local",
        "kind": "tiering",
        "name": "age",
        "version": 3,
        "who": "loopback",
        "occurred_at": "2026-11-21T09:33:00.000000+00:00",
        "repeat": True,
    }
