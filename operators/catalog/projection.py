"""From an event to the rows it would make if it were alone."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from operators.catalog import attributes
from operators.catalog.rows import (
    Content,
    InstanceKey,
    InstanceRow,
    QuarantineRow,
    SeriesKey,
    SeriesRow,
    StudyKey,
    StudyRow,
    TransferRow,
)
from operators.catalog.storable import storable
from operators.dicom.frames import pack
from operators.dicom.names import fold
from operators.errors import Rejected
from operators.store import quarantine
from schemas.events import InstanceQuarantined, InstanceStored, StudyDue, TransferEnded
from schemas.objects import DATA_HASH, TENANT, Identity, is_uid

WARNINGS = 64
MOST_PARTITION = 2**31 - 1

EVENT_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Arrived:
    """An instance that came: its event, its facts made storable, and what it is remembered by."""

    event: InstanceStored
    values: dict[str, Any] = field(repr=False)
    warnings: tuple[str, ...]
    content: Content

    @property
    def key(self) -> InstanceKey:
        """Return the instance's key."""
        return InstanceKey(self.event.tenant, self.event.study_uid, self.event.sop_uid)

    @property
    def series_key(self) -> SeriesKey:
        """Return its series' key."""
        return SeriesKey(self.event.tenant, self.event.study_uid, self.event.series_uid)

    @property
    def study_key(self) -> StudyKey:
        """Return its study's key."""
        return StudyKey(self.event.tenant, self.event.study_uid)

    @property
    def precedence(self) -> tuple[datetime, str, str]:
        """Return what orders instances: the least gives a study's and a series' attributes."""
        return self.event.stored_at, self.event.sop_uid, self.event.data_hash


def check_names(event: InstanceStored | TransferEnded | StudyDue) -> None:
    """Raise Rejected when an event's tenant, study or id cannot be of ours."""
    if not (TENANT.fullmatch(event.tenant) and is_uid(event.study_uid) and EVENT_ID.fullmatch(event.event_id)):
        raise Rejected("not-a-study-of-ours")


def check_place(event: StudyDue) -> None:
    """Raise Rejected when a due names a partition that no topic has: fastavro reads more than an int holds."""
    if not 0 <= (event.instance_partition or 0) <= MOST_PARTITION:
        raise Rejected("not-a-place")


def arrived(event: InstanceStored) -> Arrived:
    """Check and read an event; raises Rejected when its names cannot be an instance's of ours."""
    if event.object_key != _object_key(event):
        raise Rejected("not-its-object-key")
    if min(event.frames.offset, event.frames.length, event.frames.count) < 0:
        raise Rejected("not-frames")
    values, warnings = storable(event.facts)
    return Arrived(event, values, warnings, _content(event, values))


def instance_row(came: Arrived, version: int) -> InstanceRow:
    """Return the row of an instance of which nothing else came."""
    event, values = came.event, came.values
    named = {**values, "sop_class": event.sop_class, "sop_uid": event.sop_uid}
    found, cut = attributes.attributes(attributes.INSTANCE, named)
    return InstanceRow(
        **came.content.__dict__,
        prefix_hash=event.prefix_hash,
        prefix_length=event.prefix_length,
        header_length=event.header_length,
        instance_number=values["instance_number"],
        number_of_frames=values["number_of_frames"],
        rows=values["rows"],
        columns=values["columns"],
        bits_allocated=values["bits_allocated"],
        frames=pack(event.frames),
        attributes=found,
        warnings=tuple(dict.fromkeys(event.warnings + came.warnings + cut + _cut_above(came)))[:WARNINGS],
        origin=event.origin,
        version=version,
    )


def series_row(came: Arrived) -> SeriesRow:
    """Return the row of a series of which nothing else came, before anything in it is counted."""
    return SeriesRow(
        **came.series_key._asdict(),
        **_first(came),
        **{name: came.values[name] for name in SERIES_VALUES},
        scheduled_procedure_step_ids=_several(came.values["scheduled_procedure_step_id"]),
        requested_procedure_ids=_several(came.values["requested_procedure_id"]),
        attributes=_series_attributes(came)[0],
    )


def study_row(came: Arrived) -> StudyRow:
    """Return the row of a study of which nothing else came, before anything in it is counted."""
    return StudyRow(
        **came.study_key._asdict(),
        **_first(came),
        **{name: came.values[name] for name in STUDY_VALUES},
        patient_name_folded=_folded(came.values["patient_name"]),
        referring_physician_name_folded=_folded(came.values["referring_physician_name"]),
        attributes=_study_attributes(came)[0],
    )


def transfer_row(event: TransferEnded) -> TransferRow:
    """Return the row of a transfer's end."""
    return TransferRow(
        tenant=event.tenant,
        transfer_id=event.transfer_id,
        study_uid=event.study_uid,
        outcome=event.outcome,
        instances=event.instances,
        began_at=event.began_at,
        ended_at=event.occurred_at,
        event_id=UUID(event.event_id),
    )


def quarantine_row(event: InstanceQuarantined) -> QuarantineRow:
    """Return the row of what is or was kept aside; raises Rejected when its names cannot be of ours."""
    is_ours = (TENANT.fullmatch(event.tenant), DATA_HASH.fullmatch(event.data_hash), EVENT_ID.fullmatch(event.event_id))
    if not all(is_ours) or event.object_key != quarantine.key(event.tenant, event.data_hash):
        raise Rejected("not-a-content-of-ours")
    return QuarantineRow(
        tenant=event.tenant,
        data_hash=event.data_hash,
        state=event.state,
        reason=event.reason,
        object_key=event.object_key,
        size_bytes=event.size_bytes,
        prefix_hash=event.prefix_hash,
        origin=event.origin,
        transfer_id=event.transfer_id,
        calling_ae=event.calling_ae,
        called_ae=event.called_ae,
        received_at=event.received_at,
        stored_at=event.stored_at,
        until=event.until,
        occurred_at=event.occurred_at,
        event_id=UUID(event.event_id),
    )


# Facts that are columns of the same name.
STUDY_VALUES = (
    "patient_id",
    "issuer_of_patient_id",
    "patient_name",
    "patient_birth_date",
    "patient_sex",
    "study_date",
    "study_time",
    "accession_number",
    "study_id",
    "study_description",
    "referring_physician_name",
)
SERIES_VALUES = (
    "modality",
    "series_number",
    "series_description",
    "body_part_examined",
    "performed_procedure_step_start_date",
    "performed_procedure_step_start_time",
)


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
    )


def _first(came: Arrived) -> dict[str, Any]:
    event = came.event
    return {
        "first_stored_at": event.stored_at,
        "first_sop_uid": event.sop_uid,
        "first_data_hash": event.data_hash,
    }


def _cut_above(came: Arrived) -> tuple[str, ...]:
    # An instance tells what would be lost of it at every level, whether or not its study takes its attributes.
    return _series_attributes(came)[1] + _study_attributes(came)[1]


def _series_attributes(came: Arrived) -> tuple[dict[str, Any], tuple[str, ...]]:
    requests = attributes.requests(came.values["scheduled_procedure_step_id"], came.values["requested_procedure_id"])
    values = {**came.values, "series_uid": came.event.series_uid, "requests": requests}
    return attributes.attributes(attributes.SERIES, values)


def _study_attributes(came: Arrived) -> tuple[dict[str, Any], tuple[str, ...]]:
    return attributes.attributes(attributes.STUDY, {**came.values, "study_uid": came.event.study_uid})


def _several(text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part for part in (text or "").split("\\") if part))


def _folded(name: str | None) -> str | None:
    return None if name is None else fold(name)
