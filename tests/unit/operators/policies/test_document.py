"""The rules that people write are read with all that is wrong in them at once."""

from typing import Any

import orjson
import pytest

from operators.policies.document import MOST_BYTES, BadPolicy, rules_in, rules_json
from schemas.events import PolicyKind
from tests.support.worlds.policies import number, rule, texts

OLD_CT = {"name": "old-ct", "when": {"modality": "CT", "settled_s": {"at_least": 60}}, "then": {"tier": "cold"}}


def problems(*rules: Any, kind: PolicyKind = "tiering") -> tuple[str, ...]:
    with pytest.raises(BadPolicy) as found:
        rules_in(kind, orjson.dumps({"rules": rules}))
    return found.value.problems


def test_rules_are_read_and_written_as_they_are_read() -> None:
    rules = rules_in("tiering", orjson.dumps({"rules": [{"name": "never-us", "when": {"modality": "US"}}, OLD_CT]}))

    assert rules == (
        rule("never-us", texts("modality", "US")),
        rule("old-ct", texts("modality", "CT"), number("settled_s", at_least=60), tier="cold"),
    )
    assert rules_in("tiering", orjson.dumps(rules_json(rules))) == rules


def test_a_policy_without_rules_is_one() -> None:
    assert rules_in("inference", b'{"rules": []}') == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"rules": {}}',
        b'{"rules": [], "name": "age"}',
        b"\xff",
        b'{"rules": [' + b" " * MOST_BYTES + b"]}",
        b'{"rules": [' + b",".join([b'{"name": "a"}'] * 201) + b"]}",
    ],
)
def test_what_is_no_policy_is_refused(data: bytes) -> None:
    with pytest.raises(BadPolicy):
        rules_in("tiering", data)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b'{"rules": [], "rules": []}', "rules"),
        (b'{"rules": [{"name": "a", "then": {"tier": "cold", "tier": "hot"}}]}', "tier"),
        (b'{"rules": [{"name": "a", "when": {"modality": "CT", "modal\\u0069ty": "US"}}]}', "modality"),
    ],
)
def test_a_name_that_is_twice_in_one_object_is_refused(data: bytes, name: str) -> None:
    with pytest.raises(BadPolicy, match=f"the name '{name}' is twice in one object"):
        rules_in("tiering", data)


def test_objects_in_more_objects_than_a_policy_can_have_are_refused() -> None:
    with pytest.raises(BadPolicy):
        rules_in("tiering", b'{"rules": ' + b'{"a": ' * 1000 + b"1" + b"}" * 1000 + b"}")


def test_all_problems_are_said_at_once_and_where_each_is() -> None:
    found = problems(
        {"name": "Old CT", "when": {"modality": "", "colour": "red"}, "then": {"tier": "lukewarm"}},
        {"name": "good"},
        {"name": "good"},
        [],
    )

    assert [line.split(":")[0] for line in found] == ["rule 1"] * 4 + ["rule 3", "rule 4"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a", "weight": 1},
        {"when": {}},
        {"name": 1},
        {"name": "a", "when": []},
        {"name": "a", "then": []},
        {"name": "a", "then": {"tier": 1}},
        {"name": "a", "then": {"place": "cold"}},
        {"name": "a", "when": {"revision": {"at_least": 1}}},
    ],
)
def test_a_rule_of_another_form_is_refused(wrong: Any) -> None:
    assert problems(wrong)


def test_no_problem_repeats_a_value() -> None:
    assert "Doe" not in str(
        problems({"name": "Doe^John", "when": {"Doe": 1, "modality": "Doe^"}, "then": {"tier": "Doe"}})
    )


def test_a_model_needs_its_version_and_may_have_a_priority() -> None:
    assert problems({"name": "a", "then": {"model": "tissue"}}, kind="inference")
    assert problems({"name": "a", "then": {"model": "tissue", "version": "1", "priority": "soon"}}, kind="inference")
    then = {"model": "tissue", "version": "1", "priority": None}

    assert rules_in("inference", orjson.dumps({"rules": [{"name": "a", "then": then}]}))[0].then == {
        "model": "tissue",
        "version": "1",
    }
