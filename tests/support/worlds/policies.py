"""Policies and settled studies for tests."""

from datetime import UTC, datetime, timedelta

from schemas.events import PolicyChanged, PolicyCondition, PolicyKind, PolicyRule, SettledSeries, StudySettled, event_id

SETTLED_AT = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
CT_IMAGES = "1.2.840.10008.5.1.4.1.1.2"


def texts(fact: str, *values: str) -> PolicyCondition:
    """Return the condition that one of a study's texts is one of these."""
    return PolicyCondition(fact=fact, any_of=values)


def number(fact: str, at_least: int | None = None, at_most: int | None = None) -> PolicyCondition:
    """Return the condition that a number of a study lies between these."""
    return PolicyCondition(fact=fact, at_least=at_least, at_most=at_most)


def rule(name: str, *when: PolicyCondition, **then: str) -> PolicyRule:
    """Return a rule."""
    return PolicyRule(name=name, when=when, then=then)


def policy(*rules: PolicyRule, kind: PolicyKind = "tiering", name: str = "age", version: int = 1) -> PolicyChanged:
    """Return a version of a policy."""
    return PolicyChanged(
        event_id=event_id("local", kind, name, str(version)),
        tenant="local",
        occurred_at=SETTLED_AT + timedelta(minutes=version),
        kind=kind,
        name=name,
        version=version,
        who="loopback",
        why="a test",
        rules=rules,
    )


def settled_study(
    *modalities: str, instances: int = 10, body_parts: tuple[str | None, ...] = ("CHEST",)
) -> StudySettled:
    """Return the announcement of a study with a series for each body part."""
    series = tuple(
        SettledSeries(series_uid=f"1.2.{place}", modality="CT", body_part=body_part, instances=1, digest="00" * 32)
        for place, body_part in enumerate(body_parts)
    )
    return StudySettled(
        event_id=event_id("local", "1.2", "settled", "1"),
        tenant="local",
        occurred_at=SETTLED_AT,
        study_uid="1.2",
        version=1,
        revision=1,
        digest="00" * 32,
        signal="released",
        instances=instances,
        size_bytes=instances * 524_288,
        series=series,
        series_truncated=False,
        modalities=modalities,
        sop_classes=(CT_IMAGES,),
    )
