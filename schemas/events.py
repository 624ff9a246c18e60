"""The events of the topics, as values: a frozen dataclass for each Avro schema of `avro/`.

The schema files describe every field. Times are UTC with microseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha1
from typing import Literal
from uuid import UUID

NAMESPACE = UUID("5f1c1b1e-0f0a-5d3e-9c55-6d2f8a3b7c10")

# RFC 9562 4.1: the two upper bits of the ninth byte are 10.
VARIANT = "89ab"

FramesKind = Literal["none", "native", "encapsulated", "unlisted"]
Origin = Literal["received", "import", "ai"]
Conflict = Literal["patient", "re-encoded", "content"]
Outcome = Literal["well", "partial", "aborted", "lost", "rebuilt"]
Signal = Literal["expected", "released", "quiet", "limit", "commanded"]
Action = Literal["settle", "expect", "delete", "restore", "hold", "unhold", "choose", "reprocess"]
QuarantineState = Literal["held", "released", "discarded"]
PolicyKind = Literal["inference", "tiering", "conversion"]


def event_id(*parts: str) -> str:
    """Return the id of the event that these parts identify, a UUIDv5 (RFC 9562 5.5): the same parts have the same id.

    Packed here, since uuid.uuid5 takes three times as long, and every instance needs one.
    """
    digits = sha1(NAMESPACE.bytes + "/".join(parts).encode(), usedforsecurity=False).hexdigest()
    variant = VARIANT[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


@dataclass(frozen=True, kw_only=True)
class Event:
    """The fields of every event."""

    event_id: str
    tenant: str
    occurred_at: datetime
    cause: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The attributes of an instance that the catalog needs, None where an attribute is absent.

    Text is Unicode and not parsed.
    """

    specific_character_set: str | None = None
    timezone_offset_from_utc: str | None = None
    patient_name: str | None = field(default=None, repr=False)
    patient_id: str | None = field(default=None, repr=False)
    issuer_of_patient_id: str | None = field(default=None, repr=False)
    patient_birth_date: str | None = field(default=None, repr=False)
    patient_sex: str | None = None
    study_date: str | None = None
    study_time: str | None = None
    accession_number: str | None = field(default=None, repr=False)
    referring_physician_name: str | None = field(default=None, repr=False)
    study_description: str | None = field(default=None, repr=False)
    study_id: str | None = field(default=None, repr=False)
    modality: str | None = None
    series_description: str | None = field(default=None, repr=False)
    series_number: str | None = None
    body_part_examined: str | None = None
    performed_procedure_step_start_date: str | None = None
    performed_procedure_step_start_time: str | None = None
    instance_number: str | None = None
    number_of_frames: str | None = None
    photometric_interpretation: str | None = None
    samples_per_pixel: int | None = None
    rows: int | None = None
    columns: int | None = None
    bits_allocated: int | None = None
    # The texts of all items of Request Attributes Sequence, joined by backslashes; NUL separates values of one item.
    scheduled_procedure_step_id: str | None = field(default=None, repr=False)
    requested_procedure_id: str | None = field(default=None, repr=False)
    protocol_name: str | None = field(default=None, repr=False)
    series_date: str | None = None
    series_time: str | None = None


@dataclass(frozen=True, kw_only=True)
class Frames:
    """The place of the frames in an object; offsets count from the object's first byte.

    Of unlisted frames, `offset` and `length` are those of the items that they lie in, without the delimiter behind
    them; 0 where the pixels are no items, or where these are unknown.
    """

    kind: FramesKind = "none"
    offset: int = 0
    length: int = 0
    count: int = 0
    lengths: bytes = b""


@dataclass(frozen=True, kw_only=True)
class InstanceStored(Event):
    """An instance is stored in the object store. Holds patient data.

    `stored_at` is the date that its gateway gave the object before it was put: it orders contents. `occurred_at` is later
    if the store was found to have taken the object later.
    A reader that needs more of the header than `facts` reads the object's first `header_length` bytes.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    transfer_syntax: str
    object_key: str
    size_bytes: int
    data_hash: str
    prefix_hash: str
    prefix_length: int
    header_length: int
    facts: Facts
    frames: Frames
    warnings: tuple[str, ...] = ()
    origin: Origin = "received"
    transfer_id: str
    calling_ae: str = ""
    called_ae: str = ""
    received_at: datetime
    stored_at: datetime


@dataclass(frozen=True, kw_only=True)
class InstanceQuarantined(Event):
    """A refused object is held in quarantine, or was released or discarded from it. `why` may hold patient data.

    Who decided, and why, are empty while it is held.
    """

    state: QuarantineState
    data_hash: str
    object_key: str
    reason: str
    size_bytes: int
    prefix_hash: str
    origin: Origin
    transfer_id: str
    calling_ae: str
    called_ae: str
    received_at: datetime
    stored_at: datetime
    until: datetime
    who: str = ""
    why: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class InstanceConflict(Event):
    """Two contents were stored under one instance's UIDs; one is shown, the other kept. No patient data."""

    study_uid: str
    sop_uid: str
    kind: Conflict
    shown_data_hash: str
    shown_object_key: str
    shown_stored_at: datetime
    lost_data_hash: str
    lost_object_key: str
    lost_stored_at: datetime


@dataclass(frozen=True, kw_only=True)
class TransferEnded(Event):
    """A transfer will bring no more instances of a study; one that stored nothing has one event, without a study."""

    transfer_id: str
    study_uid: str | None
    outcome: Outcome
    instances: int
    began_at: datetime
    peer: str = ""
    calling_ae: str = ""
    called_ae: str = ""
    address: str = ""
    size_bytes: int | None = None
    refused: Mapping[str, int] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True)
class StudyCommand(Event):
    """A person or a program has asked for something to be done with a study. May hold patient data.

    `event_id` is the command's id. `expected_instances` belongs to expect; `sop_uid`, `data_hash` and `instance`, which is
    the packed InstanceStored of the content, belong to choose.
    """

    study_uid: str
    action: Action
    who: str
    why: str = field(repr=False)
    expected_instances: int | None = None
    sop_uid: str | None = None
    data_hash: str | None = None
    instance: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class PolicyCondition:
    """What a rule asks of one fact of a study: one of these texts, or a number from `at_least` to `at_most`."""

    fact: str
    any_of: tuple[str, ...] = ()
    at_least: int | None = None
    at_most: int | None = None


@dataclass(frozen=True, kw_only=True)
class PolicyRule:
    """A rule of a policy: if a study meets every condition, this is to be done; nothing, if `then` is empty."""

    name: str
    when: tuple[PolicyCondition, ...] = ()
    then: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True)
class PolicyChanged(Event):
    """A policy has a new version: these are all of its rules, the first that a study meets decides. May hold patient data.

    A policy without rules decides nothing any more.
    """

    kind: PolicyKind
    name: str
    version: int
    who: str
    why: str = field(repr=False)
    rules: tuple[PolicyRule, ...]


@dataclass(frozen=True, kw_only=True)
class StudyDue(Event):
    """A study is due to be settled: no more instances of it are expected now.

    A command that changes what is shown makes one without a window, which counts no instance: `window_opened_at` is then
    `occurred_at`. Either position may be absent: that of the last instance counted, and that of the last command.
    """

    study_uid: str
    signal: Signal
    window_opened_at: datetime
    window_instances: int
    window_transfers: int
    instance_partition: int | None = None
    instance_offset: int | None = None
    command_partition: int | None = None
    command_offset: int | None = None


@dataclass(frozen=True, kw_only=True)
class StudyCataloged(Event):
    """The catalog has committed a batch of changes that includes this study."""

    study_uid: str
    version: int


@dataclass(frozen=True, kw_only=True)
class SettledSeries:
    """One series of a study's revision: count and digest of the instances that are shown."""

    series_uid: str
    modality: str | None
    body_part: str | None
    instances: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class StudySettled(Event):
    """A new revision of a study exists. No patient data."""

    study_uid: str
    version: int
    revision: int
    digest: str
    signal: Signal
    instances: int
    size_bytes: int
    series: tuple[SettledSeries, ...]
    series_truncated: bool
    modalities: tuple[str, ...]
    sop_classes: tuple[str, ...]


@dataclass(frozen=True)
class SeriesFacts:
    """How many series and instances of a study's revision have this modality and this body part."""

    modality: str | None
    body_part: str | None
    series: int
    instances: int


@dataclass(frozen=True, kw_only=True)
class StudyFacts(Event):
    """The facts of a study's revision for analysts, under a pseudonym of the study. No patient data."""

    pseudonym: str
    revision: int
    instances: int
    size_bytes: int
    series: tuple[SeriesFacts, ...]
    series_truncated: bool


@dataclass(frozen=True, kw_only=True)
class RecordRejected(Event):
    """A record of a topic that can never be processed, with its bytes unchanged. May hold patient data."""

    operator: str
    reason: str
    origin_topic: str
    origin_partition: int
    origin_offset: int
    origin_key: bytes | None = field(default=None, repr=False)
    origin_value: bytes | None = field(default=None, repr=False)
    origin_at: datetime | None = None


EVENTS: tuple[type[Event], ...] = (
    InstanceStored,
    TransferEnded,
    StudyDue,
    StudyCataloged,
    StudySettled,
    RecordRejected,
    InstanceQuarantined,
    InstanceConflict,
    StudyFacts,
    StudyCommand,
    PolicyChanged,
)
