"""Each version of a policy is an object that a person can read; the newest is in force, and is the last record."""

import asyncio
import json
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from operators.connectors.memory.stores import DAMAGES, MemoryObjectStore, StoredBytes
from operators.errors import Rejected
from operators.store.policies import POLICIES, in_force, newest_since, publish_newest, versions
from schemas.events import PolicyChanged
from schemas.objects import Bucket, policy_key
from tests.support.worlds.policies import number, policy, rule, texts

OLD = rule("old-ct", texts("modality", "CT", "MR"), number("settled_s", at_least=86_400), tier="cold")
NEVER = rule("never-us", texts("modality", "US"))
AGE = policy(NEVER, OLD, version=3)
KEY = policy_key("local", "tiering", "age", 3)


def store_with(*policies: PolicyChanged, **spoiled: bytes) -> MemoryObjectStore:
    """Return a store with these policies, and these bytes in place of what lies under these versions of `age`."""
    store = MemoryObjectStore()
    for each in policies:
        assert asyncio.run(store.put(Bucket.HOT, POLICIES.upload_of(each)))
    for version, data in spoiled.items():
        key = policy_key("local", "tiering", "age", int(version.removeprefix("v")))
        store.objects[Bucket.HOT, key] = StoredBytes(data, {})
    return store


@pytest.mark.parametrize("kept", [AGE, policy(), policy(rule("all", model="a", version="1"), kind="inference")])
def test_a_version_is_read_back_from_its_object(kept: PolicyChanged) -> None:
    key = policy_key("local", kept.kind, kept.name, kept.version)

    assert asyncio.run(POLICIES.find(store_with(kept), key)) == kept


def test_a_person_can_read_it() -> None:
    said = json.loads(POLICIES.document(AGE))

    assert (said["who"], said["why"], said["version"]) == ("loopback", "a test", 3)
    assert said["rules"][1] == {
        "name": "old-ct",
        "when": [
            {"fact": "modality", "any_of": ["CT", "MR"]},
            {"fact": "settled_s", "any_of": [], "at_least": 86_400},
        ],
        "then": {"tier": "cold"},
    }


def test_what_a_later_release_adds_is_left_out() -> None:
    later = json.loads(POLICIES.document(AGE)) | {"priority": 1}
    later["rules"][1] |= {"note": "x"}
    later["rules"][1]["when"][0] |= {"none_of": ["US"]}

    assert POLICIES.event_in(KEY, json.dumps(later).encode()) == AGE


SPOILED: dict[str, bytes] = {
    "no JSON": b"rules",
    "a list": b"[]",
    "cut short": POLICIES.document(AGE)[:-20],
    "another version": POLICIES.document(policy(version=4)),
    "no such kind": POLICIES.document(AGE).replace(b'"tiering"', b'"deleting"'),
    "rules that are no list": POLICIES.document(policy(version=3)).replace(b'"rules": []', b'"rules": 7'),
    "a rule without a name": POLICIES.document(AGE).replace(b'"name": "old-ct",', b""),
    "a number for a text": POLICIES.document(AGE).replace(b'"CT"', b"7"),
    "a text for a number": POLICIES.document(AGE).replace(b"86400", b'"86400"'),
}


@pytest.mark.parametrize("how", SPOILED)
def test_what_is_no_version_is_rejected(how: str) -> None:
    with pytest.raises(Rejected, match="policy-unreadable"):
        asyncio.run(POLICIES.find(store_with(v3=SPOILED[how]), KEY))


def test_of_each_policy_the_newest_version_is_in_force() -> None:
    first, last, other = (policy(OLD, version=version) for version in (1, 2, 10))
    model = policy(rule("all", model="a", version="1"), kind="inference", name="chest")
    named = policy(name="age-of-ct")
    store = store_with(last, first, other, model, named)

    assert asyncio.run(in_force(store, "local")) == (model, other, named)
    assert asyncio.run(in_force(store, "local", "tiering")) == (other, named)
    assert asyncio.run(in_force(store, "else")) == ()
    assert asyncio.run(versions(store, "local", "tiering", "age")) == {("tiering", "age"): [1, 2, 10]}


def test_what_cannot_be_read_is_named_and_stops_no_other() -> None:
    kept = policy(name="other")
    store = store_with(policy(version=1), kept, v2=b"{}")
    foreign = "local/_policies/tiering/age/notes.txt"
    store.objects[Bucket.HOT, foreign] = StoredBytes(b"", {})

    with capture_logs() as logs:
        found = asyncio.run(in_force(store, "local"))

    assert found == (kept,)
    assert [(entry["event"], entry["key"]) for entry in logs] == [
        ("policy_key_unknown", foreign),
        ("policy_unreadable", policy_key("local", "tiering", "age", 2)),
    ]


@pytest.mark.parametrize("how", sorted(DAMAGES.keys() - {"no metadata"}))
def test_a_damaged_object_stops_no_other_policy(how: str) -> None:
    kept = policy(name="other")
    store = store_with(policy(version=1), kept)
    store.damage(Bucket.HOT, policy_key("local", "tiering", "age", 1), how)

    assert asyncio.run(in_force(store, "local")) == (kept,)


def test_the_newest_version_is_found_unless_it_is_older_than_the_one_asked_for() -> None:
    first, second = policy(version=1), policy(version=2)
    store = store_with(first, second)

    found = [asyncio.run(newest_since(store, policy_key("local", "tiering", "age", number))) for number in (1, 2, 3)]

    assert found == [second, second, None]


@pytest.mark.parametrize("key", [policy_key("local", "tiering", "age", 1), "local/1.2/_commands/1.json"])
def test_no_older_version_stands_in_for_one_that_cannot_be_read(key: str) -> None:
    with pytest.raises(Rejected, match="policy-unreadable"):
        asyncio.run(newest_since(store_with(policy(version=1), v2=b"{}"), key))


def test_it_is_published_again_until_no_newer_version_is_there() -> None:
    first, second, third = (policy(version=number) for number in (1, 2, 3))
    seen = iter((first, second, second, third))
    published = list[PolicyChanged]()

    async def newest() -> PolicyChanged:
        return next(seen)

    async def publish(event: PolicyChanged) -> None:
        published.append(event)

    assert asyncio.run(publish_newest(publish, newest)) == second
    assert published == [first, second]
    assert all(earlier.version < later.version for earlier, later in pairwise(published))


def test_what_is_not_stored_is_not_published() -> None:
    async def newest() -> None:
        return None

    async def publish(_: object) -> None:
        raise AssertionError

    assert asyncio.run(publish_newest(publish, newest)) is None
