"""The facts of a study are those of its last revision, at a moment."""

from dataclasses import replace
from datetime import timedelta

from operators.policies.facts import FACTS, facts_of
from tests.support.worlds.policies import CT_IMAGES, SETTLED_AT, settled_study


def test_a_study_has_every_fact() -> None:
    facts = facts_of(settled_study("CT", "SR"), SETTLED_AT + timedelta(days=1))

    assert facts == {
        "modality": frozenset({"CT", "SR"}),
        "body_part": frozenset({"CHEST"}),
        "sop_class": frozenset({CT_IMAGES}),
        "instances": 10,
        "series": 1,
        "size_bytes": 5_242_880,
        "revision": 1,
        "settled_s": 86_400,
    }


def test_codes_are_the_same_in_capitals_and_in_small_letters() -> None:
    assert facts_of(settled_study(body_parts=("Chest", None)), SETTLED_AT)["body_part"] == frozenset({"CHEST"})


def test_a_study_with_more_series_than_are_listed_has_one_more_than_those() -> None:
    study = replace(settled_study(body_parts=(None,) * 1000), series_truncated=True)

    assert facts_of(study, SETTLED_AT)["series"] == 1001


def test_a_clock_that_is_behind_makes_no_study_younger_than_nothing() -> None:
    assert facts_of(settled_study(), SETTLED_AT - timedelta(seconds=5))["settled_s"] == 0


def test_each_fact_has_the_type_that_its_rule_says() -> None:
    facts = facts_of(settled_study("CT"), SETTLED_AT)

    assert {name for name, value in facts.items() if isinstance(value, int)} == {
        name for name, each in FACTS.items() if each.is_number
    }
