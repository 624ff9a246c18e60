"""Revisions: whether a due study gets a new one, and the event that announces it."""

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import cast
from uuid import UUID

from operators.catalog.digest import digest
from operators.catalog.ports import StudyState
from operators.catalog.rows import RevisionRow, SeriesRow
from operators.stream.step import Output
from schemas.events import SettledSeries, Signal, StudyDue, StudySettled, event_id
from schemas.topics import STUDY_SETTLED

MAX_SERIES = 1000
# PS3.5 6.2, CS: capitals, digits, spaces and underscores; a single word of small letters means the same code.
CODE = re.compile(r"[A-Z0-9_ ]{1,16}|[A-Za-z0-9_]{1,16}")
OTHER = "other"


def next_revision(state: StudyState, due: StudyDue, shard: int, now: datetime) -> RevisionRow | None:
    """Return the revision that a due makes; None when the last revision shows the same, or no instance ever arrived."""
    last, now_shown = state.last, digest((sop_uid, data_hash) for _, sop_uid, data_hash in state.shown)
    if now_shown == (last.digest if last else digest(())):
        return None
    study, series = state.study, settled_series(state)
    return RevisionRow(
        tenant=due.tenant,
        study_uid=due.study_uid,
        revision=last.revision + 1 if last else 1,
        version=state.version,
        shard=shard,
        digest=now_shown,
        signal=due.signal,
        due_event_id=UUID(due.event_id),
        settled_at=now,
        instances=study.instances if study else 0,
        size_bytes=study.size_bytes if study else 0,
        series=tuple(settled.__dict__ for settled in series[:MAX_SERIES]),
        series_truncated=len(series) > MAX_SERIES,
        modalities=study.modalities if study else (),
        sop_classes=study.sop_classes if study else (),
    )


def settled_series(state: StudyState) -> tuple[SettledSeries, ...]:
    """Return counts and digest of each shown series, in the order of their UIDs."""
    shown: dict[str, list[tuple[str, str]]] = {}
    for series_uid, sop_uid, data_hash in state.shown:
        shown.setdefault(series_uid, []).append((sop_uid, data_hash))
    rows = {row.series_uid: row for row in state.series}
    return tuple(_settled(rows[series_uid], shown[series_uid]) for series_uid in sorted(shown))


def revision_outputs(revisions: Iterable[RevisionRow]) -> tuple[Output, ...]:
    """Return the events of these revisions, each revision once, lowest version first."""
    by_version = {row.version: row for row in revisions}
    return tuple(Output(STUDY_SETTLED, revision_event(by_version[version])) for version in sorted(by_version))


def revision_event(row: RevisionRow) -> StudySettled:
    """Return the event of a revision; made from its row alone, it is the same each time it is made."""
    return StudySettled(
        event_id=event_id(row.tenant, row.study_uid, "settled", str(row.version)),
        tenant=row.tenant,
        occurred_at=row.settled_at,
        cause=(str(row.due_event_id), *((str(row.again),) if row.again else ())),
        study_uid=row.study_uid,
        version=row.version,
        revision=row.revision,
        digest=row.digest,
        signal=cast("Signal", row.signal),
        instances=row.instances,
        size_bytes=row.size_bytes,
        series=tuple(_told(SettledSeries(**settled)) for settled in row.series),
        series_truncated=row.series_truncated,
        modalities=tuple(sorted({told for modality in row.modalities if (told := code(modality))})),
        sop_classes=row.sop_classes,
    )


def code(text: str | None) -> str | None:
    """Return what a sender typed as a code, without spaces around it; "other" if it has not the form of one.

    A topic that is no restricted one must not tell a text that somebody typed in place of a code.
    """
    typed = (text or "").strip(" ")
    if not typed:
        return None
    return typed if CODE.fullmatch(typed) else OTHER


def _told(series: SettledSeries) -> SettledSeries:
    return replace(series, modality=code(series.modality), body_part=code(series.body_part))


def _settled(row: SeriesRow, shown: list[tuple[str, str]]) -> SettledSeries:
    return SettledSeries(
        series_uid=row.series_uid,
        modality=row.modality,
        body_part=row.body_part_examined,
        instances=len(shown),
        digest=digest(shown),
    )
