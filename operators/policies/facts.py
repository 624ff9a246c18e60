"""The facts of a study that a rule may ask for, all of them made of its last revision."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from schemas.events import StudySettled

# Of a text: each of the study's values. Of a number: the number.
StudyFact = frozenset[str] | int


@dataclass(frozen=True)
class FactRule:
    """One fact: its meaning, how it is made, and the least number that it can be; None if it is a text."""

    meaning: str
    made: Callable[[StudySettled, datetime], StudyFact]
    least: int | None = None

    @property
    def is_number(self) -> bool:
        """True if the fact is a number."""
        return self.least is not None


def _codes(*codes: str | None) -> frozenset[str]:
    """Return codes in capitals: vendors write them in either case and mean the same."""
    return frozenset(code.upper() for code in codes if code)


def _seconds(study: StudySettled, now: datetime) -> int:
    return max(int((now - study.occurred_at).total_seconds()), 0)


FACTS: Mapping[str, FactRule] = {
    "modality": FactRule("a modality of its series (0008,0060)", lambda study, _: _codes(*study.modalities)),
    "body_part": FactRule(
        "a body part of its first 1,000 series (0018,0015)",
        lambda study, _: _codes(*(series.body_part for series in study.series)),
    ),
    "sop_class": FactRule("a SOP class of its instances", lambda study, _: frozenset(study.sop_classes)),
    "instances": FactRule("how many instances are shown", lambda study, _: study.instances, least=1),
    "series": FactRule(
        "how many series, 1,001 if there are more", lambda study, _: len(study.series) + study.series_truncated, least=1
    ),
    "size_bytes": FactRule("the bytes of all its objects that are shown", lambda study, _: study.size_bytes, least=1),
    "revision": FactRule("the number of its last revision", lambda study, _: study.revision, least=1),
    "settled_s": FactRule("the seconds since its last revision", _seconds, least=0),
}


def plain_facts(facts: Mapping[str, StudyFact]) -> dict[str, list[str] | int]:
    """Return facts as values of JSON: texts as a sorted list."""
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in facts.items()}


def facts_of(study: StudySettled, now: datetime) -> dict[str, StudyFact]:
    """Return all facts of a study by their names, as they are at this moment."""
    return {name: rule.made(study, now) for name, rule in FACTS.items()}
