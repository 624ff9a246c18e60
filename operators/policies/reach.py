"""Rules that can never apply: no study meets them, or each study that does meets an earlier rule too."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from operators.policies.facts import FACTS
from schemas.events import PolicyCondition, PolicyRule

# How many steps a check may take, about half a second. Rules that it does not come to are thought to apply: it is for
# mistakes, not for riddles.
MOST_STEPS = 100_000
Range = tuple[int, int | None]


@dataclass(frozen=True)
class _Studies:
    """A set of studies: of a text one of the wanted values is there, if any is wanted, and none of the unwanted ones."""

    wanted: Mapping[str, frozenset[str]] = field(default_factory=dict)
    unwanted: Mapping[str, frozenset[str]] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)

    def with_condition(self, condition: PolicyCondition) -> "Iterator[_Studies]":
        """Yield those of the studies that meet the condition, if there are any."""
        fact = condition.fact
        if FACTS[fact].is_number:
            yield from self._within(fact, condition.at_least, condition.at_most)
        elif wanted := frozenset(condition.any_of) - self.unwanted.get(fact, frozenset()):
            yield replace(self, wanted={**self.wanted, fact: wanted})

    def without(self, condition: PolicyCondition) -> "Iterator[_Studies]":
        """Yield those of the studies that do not meet the condition, in parts, if there are any."""
        fact, values = condition.fact, frozenset(condition.any_of)
        if FACTS[fact].is_number:
            if condition.at_least is not None:
                yield from self._within(fact, None, condition.at_least - 1)
            if condition.at_most is not None:
                yield from self._within(fact, condition.at_most + 1, None)
        elif fact not in self.wanted:
            yield replace(self, unwanted={**self.unwanted, fact: self.unwanted.get(fact, frozenset()) | values})
        elif left := self.wanted[fact] - values:
            yield replace(self, wanted={**self.wanted, fact: left})

    def _within(self, fact: str, least: int | None, most: int | None) -> "Iterator[_Studies]":
        low, high = self.ranges.get(fact, (FACTS[fact].least or 0, None))
        low = max(low, least or 0)
        high = min((bound for bound in (high, most) if bound is not None), default=None)
        if high is None or low <= high:
            yield replace(self, ranges={**self.ranges, fact: (low, high)})


def never_apply(rules: Sequence[PolicyRule], first: int = 0) -> list[int]:
    """Return the places, counted from 0, of the rules that no study reaches if the first rule that it meets decides.

    Only rules from the place `first` on are looked at.
    """
    left = count(MOST_STEPS, -1)
    return [place for place in range(first, len(rules)) if not _is_reached(rules[place], rules[:place], left)]


def _is_reached(rule: PolicyRule, earlier: Sequence[PolicyRule], left: "count[int]") -> bool:
    """True if a study meets the rule and none of the earlier ones, or no steps are left to look for one."""
    found: list[_Studies] = [_Studies()]
    for condition in rule.when:
        found = [narrowed for studies in found for narrowed in studies.with_condition(condition)]
    # Studies, and how many of the earlier rules they do not meet.
    open_ends = [(studies, 0) for studies in found]
    while open_ends:
        studies, place = open_ends.pop()
        if place == len(earlier) or next(left) <= 0:
            return True
        conditions = reversed(earlier[place].when)
        open_ends += [(rest, place + 1) for one in conditions for rest in studies.without(one)]
    return False
