"""A policy is found by its kind and name, in the version that is asked for; what is not there is a line."""

import asyncio

import orjson
import pytest

from deploy.commands.output import as_json
from deploy.commands.policies.reading import every_version, one_version
from deploy.errors import Failed
from operators.connectors.memory.stores import MemoryObjectStore, StoredBytes
from operators.policies.document import described, rules_in
from operators.store.policies import POLICIES
from schemas.objects import Bucket, policy_key
from tests.support.worlds.policies import policy
from tests.support.worlds.processes.putting import OLD, OLD_CT

FIRST, SECOND = policy(OLD, version=1), policy(OLD_CT, OLD, version=2)
AGE = ("local", "tiering", "age")


@pytest.fixture
def store() -> MemoryObjectStore:
    """A store with two versions of a policy, and a third that nobody can read."""
    found = MemoryObjectStore()
    for version in (FIRST, SECOND):
        asyncio.run(found.put(Bucket.HOT, POLICIES.upload_of(version)))
    return found


def test_the_version_in_force_is_meant_unless_another_is_named(store: MemoryObjectStore) -> None:
    found = [asyncio.run(one_version(store, *AGE, number)) for number in (None, 1, 2)]

    assert found == [SECOND, FIRST, SECOND]


def test_all_versions_are_listed_the_latest_first(store: MemoryObjectStore) -> None:
    assert asyncio.run(every_version(store, *AGE)) == [SECOND, FIRST]


@pytest.mark.parametrize(
    ("name", "number", "line"),
    [
        ("older", None, "there is no policy older of tiering"),
        ("age", 4, "the policy age of tiering has no version 4: its last one is 3"),
        ("age", 0, "has no version 0"),
        ("age", None, r"the object local/_policies/tiering/age/000003\.json is no version"),
    ],
)
def test_what_is_not_there_is_a_line(store: MemoryObjectStore, name: str, number: int | None, line: str) -> None:
    store.objects[Bucket.HOT, policy_key(*AGE, 3)] = StoredBytes(b"{}", {})

    with pytest.raises(Failed, match=line):
        asyncio.run(one_version(store, "local", "tiering", name, number))


def test_a_line_of_json_has_the_rules_as_they_are_put() -> None:
    said = orjson.loads(as_json(described(SECOND)))

    assert (said["id"], said["version"], said["why"]) == (SECOND.event_id, 2, "a test")
    assert rules_in("tiering", orjson.dumps({"rules": said["rules"]})) == SECOND.rules
