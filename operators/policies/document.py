"""A policy's rules as the JSON that people write: read with all that is wrong in it, and written as it can be read again."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from operators.policies.condition import condition_in, condition_json
from operators.policies.kinds import KINDS, Kind
from schemas.events import PolicyChanged, PolicyKind, PolicyRule
from schemas.objects import POLICY_NAME

# The event of as many rules, each as long as its conditions allow, is far below what a topic takes.
MOST_BYTES, MOST_RULES = 256 * 1024, 200
RULE_FIELDS = frozenset({"name", "when", "then"})


class BadPolicy(ValueError):
    """A document that is no policy: all that is wrong with it, a line each that says where; no line repeats a value."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def rules_in(kind: PolicyKind, data: bytes) -> tuple[PolicyRule, ...]:
    """Return the rules of a policy of this kind; raises BadPolicy.

    An entry that is left out means: `when`, every study; `then`, that nothing is to be done and no later rule is asked.
    """
    values = _rule_values(data)
    problems, rules = list[str](), list[PolicyRule]()
    for place, value in enumerate(values, 1):
        found = list(_problems(KINDS[kind], value)) or _repeated(value["name"], rules)
        problems += (f"rule {place}: {problem}" for problem in found)
        rules += [] if found else [_rule(value)]
    if problems:
        raise BadPolicy(problems)
    return tuple(rules)


def rules_json(rules: Sequence[PolicyRule]) -> dict[str, Any]:
    """Return the document of these rules, as values of JSON."""
    return {"rules": [_rule_json(rule) for rule in rules]}


def described(policy: PolicyChanged) -> dict[str, Any]:
    """Return a version by the names that its event has, with the rules as people write them."""
    fields = ("tenant", "kind", "name", "version", "who", "why", "occurred_at")
    return {"id": policy.event_id} | {name: getattr(policy, name) for name in fields} | rules_json(policy.rules)


def _rule_values(data: bytes) -> list[Any]:
    if len(data) > MOST_BYTES:
        raise BadPolicy([f"a policy has at most {MOST_BYTES} bytes"])
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadPolicy([f"this is not JSON in UTF-8: line {error.lineno}, column {error.colno}"]) from error
    _check_names(data)
    if not (isinstance(found, dict) and found.keys() == {"rules"} and isinstance(found["rules"], list)):
        raise BadPolicy(['a policy is {"rules": [...]} and nothing else'])
    if len(found["rules"]) > MOST_RULES:
        raise BadPolicy([f"a policy has at most {MOST_RULES} rules"])
    return found["rules"]


def _check_names(data: bytes) -> None:
    """Raise BadPolicy for a name that is twice in one object: readers of JSON differ about which of the two counts."""
    try:
        json.loads(data, object_pairs_hook=_unlike)
    except RecursionError:
        raise BadPolicy(["a policy has objects in objects, but not so many"]) from None


def _unlike(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if twice := [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]:
        raise BadPolicy([f"the name {twice[0]!r} is twice in one object"])
    return dict(pairs)


def _problems(kind: Kind, value: Any) -> Iterator[str]:
    if not isinstance(value, dict) or not value.keys() <= RULE_FIELDS:
        yield "a rule is an object with name, when and then, and nothing else"
        return
    if not (isinstance(value.get("name"), str) and POLICY_NAME.fullmatch(value["name"])):
        yield "its name has 1 to 64 of a-z, 0-9 and -, and does not begin with -"
    yield from _when_problems(kind, value.get("when", {}))
    yield from _then_problems(kind, value.get("then", {}))


def _when_problems(kind: Kind, when: Any) -> Iterator[str]:
    if not isinstance(when, dict):
        yield "when is an object: a condition for each fact"
        return
    if not when.keys() <= kind.facts:
        yield f"when may ask for {', '.join(sorted(kind.facts))}"
    for fact in sorted(when.keys() & kind.facts):
        if isinstance(found := condition_in(fact, when[fact]), str):
            yield f"{fact}: {found}"


def _then_problems(kind: Kind, then: Any) -> Iterator[str]:
    if not isinstance(then, dict):
        yield "then is an object: what is to be done"
        return
    if not then.keys() <= kind.then.keys():
        yield f"then may have {', '.join(kind.then)}"
    for name, argument in kind.then.items():
        value = then.get(name)
        is_missing = then and value is None and argument.is_required
        is_wrong = value is not None and not (isinstance(value, str) and argument.pattern.fullmatch(value))
        if is_missing or is_wrong:
            yield f"{name} is {argument.meaning}"


def _repeated(name: str, rules: Sequence[PolicyRule]) -> list[str]:
    return ["its name is that of an earlier rule"] if any(rule.name == name for rule in rules) else []


def _rule(value: Mapping[str, Any]) -> PolicyRule:
    conditions = [condition_in(fact, asked) for fact, asked in sorted(value.get("when", {}).items())]
    then = {name: done for name, done in sorted(value.get("then", {}).items()) if done is not None}
    return PolicyRule(name=value["name"], when=tuple(one for one in conditions if not isinstance(one, str)), then=then)


def _rule_json(rule: PolicyRule) -> dict[str, Any]:
    parts = {"when": {one.fact: condition_json(one) for one in rule.when}, "then": dict(rule.then)}
    return {"name": rule.name} | {name: part for name, part in parts.items() if part}
