"""A condition is read from JSON, is written as it is read, and says what is wrong with it."""

from typing import Any

import pytest

from operators.policies.condition import condition_in, condition_json
from schemas.events import PolicyCondition
from tests.support.worlds.policies import number, texts


@pytest.mark.parametrize(
    ("fact", "value", "condition"),
    [
        ("modality", "CT", texts("modality", "CT")),
        ("modality", ["MR", "ct", "CT"], texts("modality", "CT", "MR")),
        ("sop_class", ["1.2.3"], texts("sop_class", "1.2.3")),
        ("instances", {"at_least": 2}, number("instances", at_least=2)),
        ("instances", {"at_least": 2, "at_most": 2}, number("instances", 2, 2)),
        ("settled_s", {"at_most": 0}, number("settled_s", at_most=0)),
    ],
)
def test_a_condition_is_read(fact: str, value: Any, condition: PolicyCondition) -> None:
    assert condition_in(fact, value) == condition
    assert condition_in(fact, condition_json(condition)) == condition


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("modality", []),
        ("modality", ""),
        ("modality", [1]),
        ("modality", {"at_least": 1}),
        ("modality", "C T "),
        ("modality", "A" * 17),
        ("modality", ["CT"] * 201),
        ("sop_class", "CT"),
        ("instances", 5),
        ("instances", {}),
        ("instances", {"at_least": "5"}),
        ("instances", {"at_least": True}),
        ("instances", {"at_least": 1.5}),
        ("instances", {"at_least": None}),
        ("instances", {"at_least": 2**63}),
        ("instances", {"above": 5}),
        ("instances", {"at_least": 3, "at_most": 2}),
        ("instances", {"at_most": 0}),
        ("settled_s", {"at_most": -1}),
    ],
)
def test_a_value_that_no_study_can_meet_is_refused_in_words(fact: str, value: Any) -> None:
    assert isinstance(condition_in(fact, value), str)
