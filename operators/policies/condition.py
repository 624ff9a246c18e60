"""One condition of a rule as JSON: texts, one of which a study must have, or the least and the greatest number."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from operators.policies.facts import FACTS
from schemas.events import PolicyCondition, PolicyRule
from schemas.objects import is_uid

MOST_TEXTS = 200
# PS3.5 6.2, CS: what a study's modality and body part are told as, in capitals.
CODE = re.compile(r"[A-Z0-9_](?:[A-Z0-9_ ]{0,14}[A-Z0-9_])?")
# The greatest number of Avro's long.
MOST_NUMBER = 2**63 - 1
BOUNDS = frozenset({"at_least", "at_most"})


def condition_in(fact: str, value: Any) -> PolicyCondition | str:
    """Return the condition that a value of JSON is, or what is wrong with it."""
    return _range_in(fact, value) if FACTS[fact].is_number else _texts_in(fact, value)


def is_askable(rules: Iterable[PolicyRule]) -> bool:
    """True if each condition of the rules asks for a fact of this release, in that fact's form.

    A later release may have put rules that ask for more, and an object may have been written by hand.
    """
    return all(
        one.fact in FACTS and FACTS[one.fact].is_number is not bool(one.any_of) for rule in rules for one in rule.when
    )


def condition_json(condition: PolicyCondition) -> list[str] | dict[str, int]:
    """Return a condition as a value of JSON."""
    if condition.any_of:
        return list(condition.any_of)
    bounds = {"at_least": condition.at_least, "at_most": condition.at_most}
    return {name: bound for name, bound in bounds.items() if bound is not None}


def _texts_in(fact: str, value: Any) -> PolicyCondition | str:
    texts = [value] if isinstance(value, str) else value
    if not (isinstance(texts, list) and 0 < len(texts) <= MOST_TEXTS and all(isinstance(one, str) for one in texts)):
        return f"give a text, or a list of 1 to {MOST_TEXTS} texts"
    if fact == "sop_class":
        return _any_of(fact, texts) if all(map(is_uid, texts)) else "SOP classes are UIDs"
    codes = [text.upper() for text in texts]
    is_code = all(CODE.fullmatch(code) for code in codes)
    return _any_of(fact, codes) if is_code else "codes have 1 to 16 letters, digits, underscores and inner spaces"


def _any_of(fact: str, texts: list[str]) -> PolicyCondition:
    return PolicyCondition(fact=fact, any_of=tuple(sorted(set(texts))))


def _range_in(fact: str, value: Any) -> PolicyCondition | str:
    if not (isinstance(value, dict) and value and value.keys() <= BOUNDS):
        return "give at_least, at_most or both"
    if not all(type(bound) is int and 0 <= bound <= MOST_NUMBER for bound in value.values()):
        return "at_least and at_most are whole numbers from 0"
    return _range(fact, value)


def _range(fact: str, bounds: Mapping[str, int]) -> PolicyCondition | str:
    least, most = bounds.get("at_least"), bounds.get("at_most")
    if most is not None and most < max(least or 0, FACTS[fact].least or 0):
        return f"no study has so little: at_most must not be below at_least, nor below {FACTS[fact].least}"
    return PolicyCondition(fact=fact, at_least=least, at_most=most)
