"""The first rule that a study meets decides, and the decision names policy, version and rule."""

import pytest

from operators.policies.deciding import Decision, decisions, is_met
from operators.policies.facts import facts_of
from schemas.events import PolicyCondition
from tests.support.worlds.policies import SETTLED_AT, number, policy, rule, settled_study, texts

CT = facts_of(settled_study("CT", "SR"), SETTLED_AT)
NOT_US = policy(rule("never-us", texts("modality", "US")), rule("rest", tier="cold"), version=3)


def test_the_first_rule_that_a_study_meets_decides() -> None:
    assert decisions([NOT_US], CT) == (Decision("tiering", "age", 3, "rest", {"tier": "cold"}),)


def test_a_rule_without_anything_to_do_decides_that_nothing_is_done() -> None:
    decided = decisions([NOT_US], facts_of(settled_study("US"), SETTLED_AT))

    assert decided == (Decision("tiering", "age", 3, "never-us", {}),)


def test_policies_of_a_kind_with_one_answer_are_asked_in_the_order_of_their_names() -> None:
    later = policy(rule("all", tier="warm"), name="b")
    first = policy(rule("ct", texts("modality", "CT"), tier="cold"), name="a")

    assert [each.policy for each in decisions([later, first], CT)] == ["a"]
    assert [each.policy for each in decisions([later, first], facts_of(settled_study("MR"), SETTLED_AT))] == ["b"]


@pytest.mark.parametrize("odd", [texts("manufacturer", "ACME"), number("modality", 1), texts("instances", "1")])
def test_a_policy_that_this_release_cannot_ask_decides_nothing(odd: PolicyCondition) -> None:
    later = policy(rule("acme-stays", odd), rule("rest", tier="cold"), name="a")

    assert [each.policy for each in decisions([later, NOT_US], CT)] == ["age"]


def test_every_policy_of_inference_decides_for_itself() -> None:
    models = [
        policy(rule("ct", texts("modality", "CT"), model=name, version="1"), kind="inference", name=name)
        for name in ("tissue", "geometry")
    ]

    assert [each.then["model"] for each in decisions(models, CT)] == ["geometry", "tissue"]


def test_a_study_without_a_shown_instance_is_not_asked_about() -> None:
    assert decisions([policy(rule("all", tier="cold"))], facts_of(settled_study(instances=0), SETTLED_AT)) == ()


def test_a_policy_that_no_rule_of_is_met_and_one_without_rules_decide_nothing() -> None:
    assert decisions([policy(rule("us", texts("modality", "US"), tier="cold")), policy(name="b")], CT) == ()


@pytest.mark.parametrize(
    ("condition", "meets"),
    [
        (texts("modality", "SR"), True),
        (texts("modality", "MR"), False),
        (number("instances", at_least=10), True),
        (number("instances", at_least=11), False),
        (number("instances", at_most=10), True),
        (number("instances", at_most=9), False),
        (number("instances", 5, 20), True),
        (number("settled_s", at_most=0), True),
    ],
)
def test_a_condition_is_met_by_one_of_its_texts_or_within_its_bounds(condition: PolicyCondition, meets: bool) -> None:  # noqa: FBT001
    assert is_met(rule("one", condition), CT) is meets


def test_a_rule_is_met_only_if_each_of_its_conditions_is() -> None:
    assert is_met(rule("both", texts("modality", "CT"), number("instances", at_least=1)), CT)
    assert not is_met(rule("both", texts("modality", "CT"), number("instances", at_least=99)), CT)
