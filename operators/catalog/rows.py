"""The catalog's rows as values: a class for each table of `schemas/catalog/`, its columns as fields."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any, NamedTuple
from uuid import UUID

from operators.dicom.element_json import DicomJson
from schemas.events import PolicyRule


class StudyKey(NamedTuple):
    """A study's primary key."""

    tenant: str
    study_uid: str


class SeriesKey(NamedTuple):
    """A series' primary key."""

    tenant: str
    study_uid: str
    series_uid: str


class InstanceKey(NamedTuple):
    """An instance's primary key."""

    tenant: str
    study_uid: str
    sop_uid: str


@dataclass(frozen=True, kw_only=True)
class StudyRow:
    """A study: the attributes of its first instance, and counts of its shown series and instances."""

    tenant: str
    study_uid: str
    first_stored_at: datetime
    first_sop_uid: str
    first_data_hash: str
    patient_id: str | None = field(repr=False)
    issuer_of_patient_id: str | None = field(repr=False)
    patient_name: str | None = field(repr=False)
    patient_name_folded: str | None = field(repr=False)
    patient_birth_date: date | None = field(repr=False)
    patient_sex: str | None
    study_date: date | None
    study_time: time | None
    accession_number: str | None = field(repr=False)
    study_id: str | None = field(repr=False)
    study_description: str | None = field(repr=False)
    study_description_folded: str | None = field(repr=False)
    referring_physician_name: str | None = field(repr=False)
    referring_physician_name_folded: str | None = field(repr=False)
    attributes: DicomJson = field(repr=False)
    modalities: tuple[str, ...] = ()
    sop_classes: tuple[str, ...] = ()
    series: int = 0
    instances: int = 0
    size_bytes: int = 0
    version: int = 0


@dataclass(frozen=True, kw_only=True)
class SeriesRow:
    """A series: the attributes of its first instance, and counts of its shown instances."""

    tenant: str
    study_uid: str
    series_uid: str
    first_stored_at: datetime
    first_sop_uid: str
    first_data_hash: str
    modality: str | None
    series_number: int | None
    series_description: str | None = field(repr=False)
    series_description_folded: str | None = field(repr=False)
    protocol_name: str | None = field(repr=False)
    protocol_name_folded: str | None = field(repr=False)
    body_part_examined: str | None
    performed_procedure_step_start_date: date | None
    performed_procedure_step_start_time: time | None
    attributes: DicomJson = field(repr=False)
    sop_classes: tuple[str, ...] = ()
    instances: int = 0
    size_bytes: int = 0
    version: int = 0
    scheduled_procedure_step_ids: tuple[str, ...] = field(default=(), repr=False)
    requested_procedure_ids: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, kw_only=True)
class InstanceRow:
    """The shown content of an instance: the minimum of (stored_at, data hash) of all that arrived under its UIDs.

    Size, prefix and places of frames are those of the object that was stored last under the content's key; see Content.
    """

    tenant: str
    study_uid: str
    sop_uid: str
    series_uid: str
    sop_class: str
    transfer_syntax: str
    stored_at: datetime
    data_hash: str
    prefix_hash: str
    prefix_length: int
    header_length: int
    object_key: str
    tier: str = "hot"
    size_bytes: int
    patient_id: str | None = field(repr=False)
    instance_number: int | None
    number_of_frames: int | None
    rows: int | None
    columns: int | None
    bits_allocated: int | None
    frames: bytes = field(repr=False)
    attributes: DicomJson = field(repr=False)
    warnings: tuple[str, ...] = ()
    origin: str
    transfer_id: str
    event_id: UUID
    version: int = 0
    last_stored_at: datetime


@dataclass(frozen=True, kw_only=True)
class Content:
    """One content that arrived under an instance's UIDs, shown or not.

    An object that was lost or damaged may have been stored again, with the same data set behind another prefix. So
    `stored_at`, `transfer_id` and `origin` are those of the object that was stored first, `last_stored_at`,
    `prefix_hash` and `size_bytes` those of the object that the store took last.
    """

    tenant: str
    study_uid: str
    sop_uid: str
    data_hash: str
    series_uid: str
    sop_class: str
    transfer_syntax: str
    stored_at: datetime
    object_key: str
    size_bytes: int
    patient_id: str | None = field(repr=False)
    transfer_id: str
    event_id: UUID
    last_stored_at: datetime
    prefix_hash: str
    origin: str


@dataclass(frozen=True, kw_only=True)
class ConflictRow(Content):
    """A content that is kept but not shown; `kind` is how it differs from the shown content."""

    kind: str


@dataclass(frozen=True, kw_only=True)
class RevisionRow:
    """A settled state of a study; `series` has the fields of SettledSeries as dicts, in the order of their UIDs.

    `again` is the command because of which it was announced once more, under its present version.
    """

    tenant: str
    study_uid: str
    revision: int
    version: int
    shard: int
    digest: str
    signal: str
    due_event_id: UUID
    settled_at: datetime
    instances: int
    size_bytes: int
    series: tuple[dict[str, Any], ...]
    series_truncated: bool
    modalities: tuple[str, ...]
    sop_classes: tuple[str, ...]
    again: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class TransferRow:
    """How one transfer ended for one study, where it came from, and what of the whole transfer was refused, by reason.

    A transfer that stored nothing has one row, with an empty study UID.
    """

    tenant: str
    transfer_id: str
    study_uid: str
    outcome: str
    instances: int
    began_at: datetime
    ended_at: datetime
    event_id: UUID
    peer: str = ""
    calling_ae: str = ""
    called_ae: str = ""
    address: str = ""
    size_bytes: int | None = None
    refused: Mapping[str, int] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True)
class QuarantineRow:
    """A content that was refused and is held in quarantine, or was released or discarded.

    The row comes from the content's event with the greatest (stored_at, occurred_at, event id).
    """

    tenant: str
    data_hash: str
    state: str
    reason: str
    object_key: str
    size_bytes: int
    prefix_hash: str
    origin: str
    transfer_id: str
    calling_ae: str
    called_ae: str
    received_at: datetime
    stored_at: datetime
    until: datetime
    occurred_at: datetime
    event_id: UUID


@dataclass(frozen=True, kw_only=True)
class CommandRow:
    """A command: who has asked for what, when and why; `arguments` has the values of expect and choose by name."""

    tenant: str
    study_uid: str
    command_id: UUID
    action: str
    who: str
    why: str = field(repr=False)
    occurred_at: datetime
    arguments: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True, kw_only=True)
class DecisionRow:
    """What was decided last of one subject: the deletion or the hold of a study, or the choice of a content.

    `sop_uid` and `data_hash` name the chosen content, and are empty otherwise; `instance` is its packed InstanceStored.
    Of several choices for one instance the latest counts, by (occurred_at, command id).
    """

    tenant: str
    study_uid: str
    sop_uid: str = ""
    subject: str
    data_hash: str = ""
    in_force: bool = True
    occurred_at: datetime
    command_id: UUID
    instance: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class DueRow:
    """A due that was applied; `revision` is the number of the first revision that it made, None if it made none."""

    tenant: str
    study_uid: str
    event_id: UUID
    signal: str
    due_at: datetime
    window_opened_at: datetime
    window_instances: int
    window_transfers: int
    revision: int | None


@dataclass(frozen=True, kw_only=True)
class PolicyRow:
    """The version of a policy that is in force, which is the greatest that was ever read."""

    tenant: str
    kind: str
    name: str
    version: int
    rules: tuple[PolicyRule, ...]
    who: str
    why: str = field(repr=False)
    occurred_at: datetime
    event_id: UUID


@dataclass(frozen=True, kw_only=True)
class DamageRow:
    """The mark of an object in one tier whose bytes were found damaged; `reason` is a kind of finding.

    It speaks of the bytes that the store took at `modified_at`, None if the store cannot tell: not of an object that
    has replaced them.
    """

    tenant: str
    study_uid: str
    object_key: str
    tier: str
    reason: str
    modified_at: datetime | None
    found_at: datetime


class TopicPartition(NamedTuple):
    """A partition of a topic; a topic that was deleted and created again has another id, and its offsets begin again."""

    topic: str
    topic_id: str
    partition: int


@dataclass(frozen=True)
class AppliedOffsetRow:
    """The last applied offset of a partition in one shard of a job with `shards` shards."""

    shards: int
    shard: int
    topic: str
    topic_id: str
    partition: int
    offset: int


@dataclass(frozen=True)
class WaitingDueRow:
    """A study-due, as Avro, that waits until the record of its topic at this position is applied."""

    event_id: UUID
    topic_id: str
    partition: int
    offset: int
    event: bytes = field(repr=False)
    topic: str
