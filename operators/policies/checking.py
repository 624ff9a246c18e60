"""What is wrong with a policy beside the others of its kind: rules that can never apply."""

from collections.abc import Iterator, Mapping, Sequence

from operators.policies.condition import is_askable
from operators.policies.kinds import KINDS
from operators.policies.reach import never_apply
from schemas.events import PolicyKind, PolicyRule


def dead_rules(kind: PolicyKind, name: str, policies: Mapping[str, Sequence[PolicyRule]]) -> tuple[str, ...]:
    """Return a line for each rule that can never apply once the policy of this name has these rules.

    `policies` are the rules of all policies of the kind that are in force, by name, the new ones among them. A policy is
    to blame for its own dead rules, and for those of the policies that are asked after it, unless they are dead without
    it. Policies that this release cannot ask decide nothing, and take no study from another.
    """
    together = {name: policies[name]} if KINDS[kind].each_decides else policies
    asked = {each: rules for each, rules in sorted(together.items()) if is_askable(rules)}
    dead = _dead(asked, name)
    if any(policy != name for policy, _ in dead):
        others = {each: rules for each, rules in asked.items() if each != name}
        blameless = frozenset(_dead(others, name))
        dead = [place for place in dead if place not in blameless]
    return tuple(_lines(dead, name))


def _dead(asked: Mapping[str, Sequence[PolicyRule]], name: str) -> list[tuple[str, int]]:
    """Return the dead rules of the policies from this name on, each by its policy and its place there."""
    places = [(policy, place) for policy, rules in asked.items() for place in range(len(rules))]
    # What is asked before the policy is none of its business.
    first = sum(policy < name for policy, _ in places)
    return [places[each] for each in never_apply([rule for rules in asked.values() for rule in rules], first)]


def _lines(dead: Sequence[tuple[str, int]], name: str) -> Iterator[str]:
    for policy, place in dead:
        if policy == name:
            yield f"rule {place + 1}: it can never apply, since the rules before it leave no study"
        else:
            line = f"rule {place + 1} of the policy {policy} could never apply any more"
            yield f"{line}: add conditions to these rules, or put {policy} without that rule first"
