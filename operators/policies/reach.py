"""Rules that can never apply: no study meets them, or each study that does meets an earlier rule too."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from operators.policies.facts import FACTS
from schemas.events import PolicyCondition, PolicyRule

# How often the searches for all rules together may look at a rule again. Rules that need more are thought to apply: the
# check is for mistakes, not for riddles.
MOST_STEPS = 20_000
Range = tuple[int, int | None]


@dataclass(frozen=True)
class _Studies:
    """A set of studies: those that have one of the wanted values of each text, and each number within its range.

    No value of a text is ruled out: of the studies that need none of its values some have no value at all.
    """

    wanted: Mapping[str, frozenset[str]] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)

    def with_condition(self, condition: PolicyCondition) -> "Iterator[_Studies]":
        """Yield those of the studies that meet a condition on a fact that was not asked yet, if there are any."""
        fact = condition.fact
        if FACTS[fact].is_number:
            yield from self._within(fact, condition.at_least, condition.at_most)
        else:
            yield replace(self, wanted={**self.wanted, fact: frozenset(condition.any_of)})

    def without(self, rule: PolicyRule) -> "list[_Studies]":
        """Return those of the studies that do not meet the rule, in parts; only these studies if none of them is lost."""
        parts = list[_Studies]()
        for condition in rule.when:
            for part in self._without(condition):
                if part is self:
                    return [self]
                parts.append(part)
        return parts

    def _without(self, condition: PolicyCondition) -> "Iterator[_Studies]":
        fact = condition.fact
        if FACTS[fact].is_number:
            if condition.at_least is not None:
                yield from self._within(fact, None, condition.at_least - 1)
            if condition.at_most is not None:
                yield from self._within(fact, condition.at_most + 1, None)
        elif fact not in self.wanted or self.wanted[fact].isdisjoint(condition.any_of):
            yield self
        elif left := self.wanted[fact].difference(condition.any_of):
            yield replace(self, wanted={**self.wanted, fact: left})

    def _within(self, fact: str, least: int | None, most: int | None) -> "Iterator[_Studies]":
        low, high = before = self.ranges.get(fact, (FACTS[fact].least or 0, None))
        low = max(low, least or 0)
        high = min((bound for bound in (high, most) if bound is not None), default=None)
        if (low, high) == before:
            yield self
        elif high is None or low <= high:
            yield replace(self, ranges={**self.ranges, fact: (low, high)})


def never_apply(rules: Sequence[PolicyRule], first: int = 0) -> list[int]:
    """Return the places, counted from 0, of the rules that no study reaches if the first rule that it meets decides.

    Only rules from the place `first` on are looked at.
    """
    steps = iter(range(MOST_STEPS))
    return [place for place in range(first, len(rules)) if not _is_reached(rules[place], rules[:place], steps)]


def _is_reached(rule: PolicyRule, earlier: Sequence[PolicyRule], steps: Iterator[int]) -> bool:
    found: list[_Studies] = [_Studies()]
    for condition in rule.when:
        found = [narrowed for studies in found for narrowed in studies.with_condition(condition)]
    return any(_escapes(studies, earlier, steps) for studies in found)


def _escapes(studies: _Studies, earlier: Sequence[PolicyRule], steps: Iterator[int]) -> bool:
    """True if one of the studies meets none of the earlier rules, or the search needs more steps than are left.

    To look at each of the earlier rules once is no step.
    """
    left, looked = [(studies, 0)], 0
    while left:
        studies, place = left.pop()
        if place == len(earlier):
            return True
        looked += 1
        if looked > len(earlier) and next(steps, None) is None:
            return True
        left += [(part, place + 1) for part in reversed(studies.without(earlier[place]))]
    return False
