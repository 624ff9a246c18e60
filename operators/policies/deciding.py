"""What policies say of a study: each decision names its policy, its version and its rule."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from operators.policies.condition import is_askable
from operators.policies.facts import StudyFact, plain_facts
from operators.policies.kinds import KINDS
from schemas.events import PolicyChanged, PolicyCondition, PolicyKind, PolicyRule, StudySettled


@dataclass(frozen=True)
class Decision:
    """What is to be done with a study, by which rule; nothing, if `then` is empty."""

    kind: PolicyKind
    policy: str
    version: int
    rule: str
    then: Mapping[str, str] = field(hash=False)


def decisions(policies: Iterable[PolicyChanged], facts: Mapping[str, StudyFact]) -> tuple[Decision, ...]:
    """Return what policies of one kind decide about a study with these facts: the versions that are in force, each once.

    A study without a shown instance is not asked about. Policies that no rule of which is met decide nothing, nor do
    policies that this release cannot ask.
    """
    if not facts["instances"]:
        return ()
    in_order = sorted(policies, key=lambda policy: policy.name)
    found = tuple(filter(None, (decision(policy, facts) for policy in in_order)))
    return found if all(KINDS[each.kind].each_decides for each in found) else found[:1]


def decided_json(study: StudySettled, facts: Mapping[str, StudyFact], decided: Iterable[Decision]) -> dict[str, Any]:
    """Return what is decided about a study as values of JSON, with the facts that it is decided by."""
    found = [asdict(each) for each in decided]
    return {"study": study.study_uid, "revision": study.revision, "facts": plain_facts(facts), "decisions": found}


def decision(policy: PolicyChanged, facts: Mapping[str, StudyFact]) -> Decision | None:
    """Return what the first rule says that a study meets, None if it meets none."""
    rule = met_rule(policy.rules, facts)
    return Decision(policy.kind, policy.name, policy.version, rule.name, rule.then) if rule else None


def met_rule(rules: Sequence[PolicyRule], facts: Mapping[str, StudyFact]) -> PolicyRule | None:
    """Return the first rule that a study meets; None if it meets none, or if this release cannot ask one of the rules.

    To pass over that rule alone would do what a later one says, and the rule was perhaps put against just that.
    """
    return next((rule for rule in rules if is_met(rule, facts)), None) if is_askable(rules) else None


def is_met(rule: PolicyRule, facts: Mapping[str, StudyFact]) -> bool:
    """True if a study with these facts meets all conditions of the rule."""
    return all(_meets(facts[condition.fact], condition) for condition in rule.when)


def _meets(value: StudyFact, condition: PolicyCondition) -> bool:
    if isinstance(value, frozenset):
        return not value.isdisjoint(condition.any_of)
    return _least(condition) <= value and (condition.at_most is None or value <= condition.at_most)


def _least(condition: PolicyCondition) -> int:
    return condition.at_least or 0
