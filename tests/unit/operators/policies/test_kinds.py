"""Each kind of policy asks for facts that there are, and has something that can be done."""

from typing import get_args

from operators.policies.facts import FACTS
from operators.policies.kinds import KINDS, LOSSLESS, kind_named
from schemas.events import PolicyKind
from schemas.objects import POLICY_NAME


def test_every_kind_of_the_event_is_described() -> None:
    assert tuple(KINDS) == get_args(PolicyKind)


def test_every_kind_asks_for_facts_that_there_are_and_does_something() -> None:
    assert all(kind.facts <= FACTS.keys() and kind.then for kind in KINDS.values())


def test_every_kind_can_be_in_a_key() -> None:
    assert all(POLICY_NAME.fullmatch(name) for name in KINDS)


def test_a_kind_is_found_by_its_name() -> None:
    assert (kind_named("tiering"), kind_named("Tiering")) == ("tiering", None)


def test_a_pattern_of_texts_takes_each_text_and_no_part_of_one() -> None:
    syntax = KINDS["conversion"].then["transfer_syntax"].pattern

    assert all(syntax.fullmatch(each) for each in LOSSLESS)
    assert not syntax.fullmatch("1.2.840.10008.1.2.4.2")
    assert not syntax.fullmatch("1x2.840.10008.1.2.1")
