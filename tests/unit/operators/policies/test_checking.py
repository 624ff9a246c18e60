"""Rules that can never apply are found in a policy, and in the policies that are asked after it."""

from operators.policies.checking import dead_rules
from tests.support.worlds.policies import rule, texts

ALL = rule("all", tier="cold")
CT = rule("ct", texts("modality", "CT"), tier="warm")


def test_a_rule_behind_one_that_every_study_meets_is_found() -> None:
    assert [line.split(":")[0] for line in dead_rules("tiering", "age", {"age": [ALL, CT]})] == ["rule 2"]
    assert dead_rules("tiering", "age", {"age": [CT, ALL]}) == ()


def test_a_policy_that_leaves_nothing_to_one_that_is_asked_later_is_to_blame() -> None:
    lines = dead_rules("tiering", "age", {"age": [ALL], "zoo": [CT]})

    assert [line.split(":")[0] for line in lines] == ["rule 1 of the policy zoo could never apply any more"]
    assert dead_rules("tiering", "zoo", {"age": [ALL], "zoo": [CT]})


def test_what_another_policy_does_to_itself_is_not_held_against_this_one() -> None:
    assert dead_rules("tiering", "zoo", {"age": [CT, CT], "zoo": [ALL]}) == ()


def test_what_is_dead_without_a_policy_is_not_held_against_it() -> None:
    us = rule("us", texts("modality", "US"), tier="hot")

    assert dead_rules("tiering", "a", {"a": [us], "b": [ALL], "c": [CT]}) == ()
    assert len(dead_rules("tiering", "b", {"a": [us], "b": [ALL], "c": [CT]})) == 1


def test_policies_that_decide_for_themselves_leave_each_other_all_studies() -> None:
    model = rule("all", model="tissue", version="1")

    assert dead_rules("inference", "b", {"a": [model], "b": [model]}) == ()


def test_a_policy_that_this_release_cannot_ask_takes_no_study_from_another() -> None:
    later = rule("later", texts("manufacturer", "ACME"), tier="hot")

    assert dead_rules("tiering", "b", {"a": [ALL, later], "b": [CT]}) == ()
