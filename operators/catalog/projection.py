"""The rows that an event makes when nothing else has arrived."""

import re
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from operators.catalog.row_json import row_json, row_warnings
from operators.catalog.rows import (
    Content,
    DueRow,
    InstanceKey,
    InstanceRow,
    PolicyRow,
    QuarantineRow,
    SeriesKey,
    SeriesRow,
    StudyKey,
    StudyRow,
    TransferRow,
)
from operators.catalog.storable import storable_values
from operators.dicom.attributes import FACTS, FOLDED, LEVELS, Attribute, Level
from operators.dicom.element_json import DicomJson
from operators.dicom.frames import move_frames, pack
from operators.dicom.names import fold, fold_case
from operators.errors import Rejected
from operators.store import quarantine
from schemas.events import (
    InstanceQuarantined,
    InstanceStored,
    PolicyChanged,
    PolicyKind,
    StudyCommand,
    StudyDue,
    TransferEnded,
)
from schemas.objects import DATA_HASH, MOST_VERSIONS, POLICY_NAME, TENANT, Identity, is_uid

MAX_WARNINGS = 64
MAX_INT, MAX_LONG = 2**31 - 1, 2**63 - 1

EVENT_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# The facts that a level's row has columns for.
COLUMNS: dict[Level, tuple[Attribute, ...]] = {
    level: tuple(attribute for attribute in FACTS if attribute.level == level and attribute.matching)
    for level in LEVELS
}


@dataclass(frozen=True)
class StorableInstance:
    """An instance that arrived: its event, its facts as storable values, and its content as the catalog compares it."""

    event: InstanceStored
    values: dict[str, Any] = field(repr=False)
    warnings: tuple[str, ...]
    content: Content

    @property
    def key(self) -> InstanceKey:
        """Return the primary key of the instance's row."""
        return InstanceKey(self.event.tenant, self.event.study_uid, self.event.sop_uid)

    @property
    def series_key(self) -> SeriesKey:
        """Return the primary key of its series' row."""
        return SeriesKey(self.event.tenant, self.event.study_uid, self.event.series_uid)

    @property
    def study_key(self) -> StudyKey:
        """Return the primary key of its study's row."""
        return StudyKey(self.event.tenant, self.event.study_uid)

    @property
    def precedence(self) -> tuple[datetime, str, str]:
        """Return the key that orders instances: the first instance gives its study and series their attributes."""
        return self.event.stored_at, self.event.sop_uid, self.event.data_hash


def check_identifiers(event: InstanceStored | TransferEnded | StudyCommand | StudyDue) -> None:
    """Raise Rejected unless an event's tenant, study UID and id have the form that they have in our events.

    Only the end of a transfer that has stored nothing has no study.
    """
    is_study = event.study_uid is None or is_uid(event.study_uid)
    if not (TENANT.fullmatch(event.tenant) and is_study and EVENT_ID.fullmatch(event.event_id)):
        raise Rejected("not-a-study-of-ours")


def check_numbers(event: StudyDue) -> None:
    """Raise Rejected when a due names a place that no topic has, or counts that no window has.

    fastavro also reads numbers larger than an int.
    """
    partitions, offsets = (
        (event.instance_partition, event.command_partition),
        (event.instance_offset, event.command_offset),
    )
    if not (all(0 <= (one or 0) <= MAX_INT for one in partitions) and all((one or 0) <= MAX_LONG for one in offsets)):
        raise Rejected("not-a-place")
    if not all(0 <= count <= MAX_INT for count in (event.window_instances, event.window_transfers)):
        raise Rejected("not-a-count")


def storable_instance(event: InstanceStored) -> StorableInstance:
    """Check an event and make its facts storable; raises Rejected when its object key or frames cannot be ours."""
    if event.object_key != _object_key(event):
        raise Rejected("not-its-object-key")
    if min(event.frames.offset, event.frames.length, event.frames.count) < 0:
        raise Rejected("not-frames")
    values, warnings = storable_values(event.facts)
    return StorableInstance(event, values, warnings, _content(event, values))


def instance_row(instance: StorableInstance, version: int) -> InstanceRow:
    """Return the row of an instance when nothing else has arrived under its UIDs."""
    event = instance.event
    attributes, cut = _attributes("instance", instance)
    # The warnings name the attributes cut at every level, even if study and series take theirs from another instance.
    values = _values(event)
    above = row_warnings("series", values) + row_warnings("study", values)
    return InstanceRow(
        **instance.content.__dict__,
        **_columns("instance", instance.values),
        prefix_length=event.prefix_length,
        header_length=event.header_length,
        frames=pack(event.frames),
        attributes=attributes,
        warnings=tuple(dict.fromkeys(event.warnings + instance.warnings + cut + above))[:MAX_WARNINGS],
        version=version,
    )


def merged_row(instance: StorableInstance, content: Content, version: int) -> InstanceRow:
    """Return the row of a shown content whose other events have arrived too; `instance` is any of its events.

    The data set is the same in each of its objects, so in one that is longer all places lie further on by as much.
    Raises Rejected when they would lie before its beginning: then the events are not of one data set.
    """
    row, longer = instance_row(instance, version), content.size_bytes - instance.event.size_bytes
    frames = move_frames(instance.event.frames, longer)
    if min(row.prefix_length + longer, frames.offset) < 0:
        raise Rejected("not-its-size")
    if content == instance.content:
        return row
    return replace(
        row,
        **content.__dict__,
        prefix_length=row.prefix_length + longer,
        header_length=row.header_length + longer,
        frames=pack(frames),
    )


def series_row(instance: StorableInstance) -> SeriesRow:
    """Return the row of a series when nothing else of it has arrived, before its instances are counted."""
    return SeriesRow(
        **instance.series_key._asdict(),
        **_first_instance(instance),
        **_columns("series", instance.values),
        attributes=_attributes("series", instance)[0],
    )


def study_row(instance: StorableInstance) -> StudyRow:
    """Return the row of a study when nothing else of it has arrived, before its instances are counted."""
    return StudyRow(
        **instance.study_key._asdict(),
        **_first_instance(instance),
        **_columns("study", instance.values),
        attributes=_attributes("study", instance)[0],
    )


def transfer_row(event: TransferEnded) -> TransferRow:
    """Return the row of a transfer that has ended for one study, or without any: then its study UID is empty."""
    given = {column.name: getattr(event, column.name) for column in fields(TransferRow) if hasattr(event, column.name)}
    told = {"study_uid": event.study_uid or "", "ended_at": event.occurred_at, "event_id": UUID(event.event_id)}
    return TransferRow(**{**given, **told})


def due_row(event: StudyDue, revision: int | None) -> DueRow:
    """Return the row of a due that was applied, with the number of the first revision that it made."""
    return DueRow(
        tenant=event.tenant,
        study_uid=event.study_uid,
        event_id=UUID(event.event_id),
        signal=event.signal,
        due_at=event.occurred_at,
        window_opened_at=event.window_opened_at,
        window_instances=event.window_instances,
        window_transfers=event.window_transfers,
        revision=revision,
    )


def quarantine_row(event: InstanceQuarantined) -> QuarantineRow:
    """Return the row of a content that is in quarantine, or was released or discarded from it.

    Raises Rejected when its tenant, hash, key or event id cannot be ours.
    """
    is_ours = (TENANT.fullmatch(event.tenant), DATA_HASH.fullmatch(event.data_hash), EVENT_ID.fullmatch(event.event_id))
    if not all(is_ours) or event.object_key != quarantine.key(event.tenant, event.data_hash):
        raise Rejected("not-a-content-of-ours")
    columns = {column.name: getattr(event, column.name) for column in fields(QuarantineRow)}
    return QuarantineRow(**{**columns, "event_id": UUID(event.event_id)})


def policy_row(event: PolicyChanged) -> PolicyRow:
    """Return the row of a policy's version; raises Rejected when its tenant, name, version or event id cannot be ours."""
    is_ours = (TENANT.fullmatch(event.tenant), POLICY_NAME.fullmatch(event.name), EVENT_ID.fullmatch(event.event_id))
    if not all(is_ours) or not 0 < event.version <= MOST_VERSIONS:
        raise Rejected("not-a-policy-of-ours")
    columns = {column.name: getattr(event, column.name) for column in fields(PolicyRow)}
    return PolicyRow(**{**columns, "event_id": UUID(event.event_id)})


def policy_of(row: PolicyRow) -> PolicyChanged:
    """Return the event that a policy's row was made of, as jobs and readers ask it."""
    columns = {**row.__dict__, "event_id": str(row.event_id), "kind": cast("PolicyKind", row.kind)}
    return PolicyChanged(**columns)


def _object_key(event: InstanceStored) -> str:
    try:
        return Identity(event.tenant, event.study_uid, event.series_uid, event.sop_uid, event.data_hash).key
    except ValueError:
        raise Rejected("not-an-instance-of-ours") from None


def _content(event: InstanceStored, values: dict[str, Any]) -> Content:
    return Content(
        tenant=event.tenant,
        study_uid=event.study_uid,
        sop_uid=event.sop_uid,
        data_hash=event.data_hash,
        series_uid=event.series_uid,
        sop_class=event.sop_class,
        transfer_syntax=event.transfer_syntax,
        stored_at=event.stored_at,
        object_key=event.object_key,
        size_bytes=event.size_bytes,
        patient_id=values["patient_id"],
        transfer_id=event.transfer_id,
        event_id=UUID(event.event_id),
        last_stored_at=max(event.stored_at, event.occurred_at),
        prefix_hash=event.prefix_hash,
        origin=event.origin,
    )


def _first_instance(instance: StorableInstance) -> dict[str, Any]:
    event = instance.event
    return {
        "first_stored_at": event.stored_at,
        "first_sop_uid": event.sop_uid,
        "first_data_hash": event.data_hash,
    }


def _attributes(level: Level, instance: StorableInstance) -> tuple[DicomJson, tuple[str, ...]]:
    return row_json(level, _values(instance.event))


def _values(event: InstanceStored) -> dict[str, Any]:
    """Return the values that an event's attributes are made from: its facts and UIDs."""
    uids = {name: getattr(event, name) for name in ("study_uid", "series_uid", "sop_uid", "sop_class")}
    return vars(event.facts) | uids


def _columns(level: Level, values: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of a level's row that hold facts, in the forms that answers and matching need."""
    columns: dict[str, Any] = {}
    for attribute in COLUMNS[level]:
        value = values[attribute.name]
        if attribute.matching == "texts":
            columns[attribute.column] = value or ()
            continue
        columns[attribute.name] = value
        if attribute.matching in FOLDED:
            folded = fold if attribute.matching == "name" else fold_case
            columns[attribute.column] = None if value is None else folded(value)
    return columns
