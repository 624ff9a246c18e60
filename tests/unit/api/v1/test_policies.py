"""The policies in force, and what they say of a study, are answered in JSON."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.support.worlds.catalog_histories import STUDY, due, instance, numbered, run
from tests.support.worlds.policies import number, policy, rule, texts
from tests.support.worlds.reading import World

AGE = policy(rule("never-us", texts("modality", "US")), rule("large", number("instances", at_least=2), tier="cold"))
ZOO = policy(rule("all", tier="warm"), name="zoo", version=4)
MODEL = policy(rule("all", model="tissue", version="1"), kind="inference", name="tissue")


@pytest.fixture(scope="module")
def world() -> World:
    made = World()
    events = [instance(), instance(sop="2"), due(), ZOO, AGE, replace(AGE, version=2), MODEL]
    run(made.catalog, [numbered([event]) for event in events])
    run(made.catalog, [numbered([policy(name="foreign")], "other")])
    return made


def get(world: World, path: str, **headers: str) -> httpx.Response:
    return asyncio.run(world.get(path, **headers))


def found(world: World, path: str) -> dict[str, Any]:
    response = get(world, path)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json"), response.text
    body: dict[str, Any] = response.json()
    return body


def test_the_policies_in_force_are_listed_in_the_order_in_which_they_are_asked(world: World) -> None:
    listed = found(world, "/v1/policies")["policies"]

    assert [(each["kind"], each["name"], each["version"]) for each in listed] == [
        ("inference", "tissue", 1),
        ("tiering", "age", 2),
        ("tiering", "zoo", 4),
    ]
    assert [each["name"] for each in found(world, "/v1/policies?kind=tiering")["policies"]] == ["age", "zoo"]
    assert found(world, "/v1/policies?kind=conversion") == {"policies": []}


def test_a_policy_is_answered_with_its_rules_as_they_are_put(world: World) -> None:
    body = found(world, "/v1/policies/tiering/age")

    assert (body["version"], body["who"], body["why"], body["id"]) == (2, "loopback", "a test", AGE.event_id)
    assert body["rules"] == [
        {"name": "never-us", "when": {"modality": ["US"]}},
        {"name": "large", "when": {"instances": {"at_least": 2}}, "then": {"tier": "cold"}},
    ]


def test_what_policies_say_of_a_study_names_policy_version_and_rule(world: World) -> None:
    body = found(world, f"/v1/studies/{STUDY}/decisions")

    assert [
        (each["kind"], each["policy"], each["version"], each["rule"], each["then"]) for each in body["decisions"]
    ] == [
        ("inference", "tissue", 1, "all", {"model": "tissue", "version": "1"}),
        ("tiering", "age", 2, "large", {"tier": "cold"}),
    ]
    assert (body["study"], body["revision"], body["facts"]["instances"]) == (STUDY, 1, 2)
    only = found(world, f"/v1/studies/{STUDY}/decisions?kind=tiering")["decisions"]
    assert [each["kind"] for each in only] == ["tiering"]


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/v1/policies/tiering/foreign", 404, "no-such-policy"),
        ("/v1/policies/colour/age", 404, "no-such-policy"),
        ("/v1/policies?kind=colour", 400, "bad-query"),
        ("/v1/policies?limit=1", 400, "bad-query"),
        ("/v1/policies?kind=tiering&kind=inference", 400, "bad-query"),
        ("/v1/studies/1.9/decisions", 404, "no-revision"),
        ("/v1/studies/x/decisions", 400, "bad-uid"),
    ],
)
def test_a_question_without_an_answer_says_what_to_do(world: World, path: str, status: int, reason: str) -> None:
    response = get(world, path)

    assert (response.status_code, response.json()["reason"]) == (status, reason)
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/v1/policies", "/v1/policies/tiering/age", f"/v1/studies/{STUDY}/decisions"])
def test_a_client_that_takes_no_json_is_told(world: World, path: str) -> None:
    assert get(world, path, accept="text/html").status_code == 406
