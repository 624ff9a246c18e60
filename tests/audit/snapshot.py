"""A snapshot: everything that an observer saw of an archive at one time, as records."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.audit.ledger import Line


class Name(NamedTuple):
    """The name of an instance; one SOP UID under two studies names two instances."""

    tenant: str
    study_uid: str
    sop_uid: str

    def __str__(self) -> str:
        return "/".join(self)


class Study(NamedTuple):
    """The name of a study."""

    tenant: str
    study_uid: str

    def __str__(self) -> str:
        return "/".join(self)


class Series(NamedTuple):
    """The name of a series."""

    tenant: str
    study_uid: str
    series_uid: str

    def __str__(self) -> str:
        return "/".join(self)


class Place(NamedTuple):
    """The place of a record."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


class Command(NamedTuple):
    """A command about a study, from its row or its event."""

    study: Study
    event_id: str
    action: str

    def __str__(self) -> str:
        return f"{self.study} {self.action} {self.event_id}"


class Decision(NamedTuple):
    """What a command decides about: a study's deletion or hold, or one content of an instance."""

    study: Study
    subject: str
    sop_uid: str = ""
    data_hash: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (str(self.study), self.subject, self.sop_uid, self.data_hash)))


@dataclass(frozen=True)
class ObjectContent:
    """The content of an object: hashes computed from its bytes, and its envelope.

    `after_header` is the tag at the offset where the envelope says that the header ends: empty at the end of the object,
    None beyond the end, and None for quarantined objects.
    """

    data_hash: str
    prefix_hash: str
    prefix_length: int
    transfer_syntax: str
    after_header: bytes | None
    envelope: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ObjectSeen:
    """An object of a bucket; `content` is None when its bytes were not read or are no Part 10 file."""

    key: str
    size_bytes: int
    read: bool = False
    content: ObjectContent | None = None


@dataclass(frozen=True)
class InstanceRow:
    """An instance's row in the catalog; `is_stored_again` says that another object may have taken the first one's place."""

    name: Name
    series_uid: str
    sop_class: str
    data_hash: str
    object_key: str
    size_bytes: int
    prefix_hash: str
    prefix_length: int
    header_length: int
    is_stored_again: bool = False


@dataclass(frozen=True)
class Counts:
    """The counts in a study's or series' row, or in QIDO's answer; None where there is no such count."""

    instances: int | None = None
    size_bytes: int | None = None
    series: int | None = None
    modalities: tuple[str, ...] | None = None
    sop_classes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Revision:
    """A revision of a study, from its row or from a study-settled event.

    Of a row, `due` is the event id of the due that made it, and `is_repeated` says that a command had it announced
    again, under a higher version.
    """

    study: Study
    number: int
    version: int
    digest: str
    instances: int
    size_bytes: int
    series: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    event_id: str = ""
    due: str = ""
    is_repeated: bool = False


@dataclass(frozen=True)
class StoredEvent:
    """An instance-stored event."""

    name: Name
    data_hash: str
    object_key: str
    event_id: str


# What a record is about, in the words of the catalog's row that it becomes: the table, then the row's key.
About = tuple[str | int, ...]


@dataclass(frozen=True)
class ReadRecord:
    """A record of a topic that jobs read; `about` is None where no schema decodes it.

    `is_counted` says that the study job answers it with a due. `appended_at` is the broker's time, Unix seconds.
    """

    place: Place
    about: About | None
    event_id: str = ""
    study: Study | None = None
    is_counted: bool = False
    appended_at: float = 0.0


@dataclass(frozen=True)
class Positions:
    """Where the partitions of the topics begin and end, and how far jobs have read them, each by topic and partition.

    `spans` are the offsets of the first record and after the last one. `applied` is the last offset that the catalog's
    rows name, None where the auditor's role may not read it; `committed` is the next offset of each job's group.
    `kept_since` says of a topic since when all its records are kept, Unix seconds; a compacted topic keeps the last of each key.
    """

    spans: Mapping[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    applied: Mapping[tuple[str, int], int] | None = None
    committed: Mapping[str, Mapping[tuple[str, int], int]] = field(default_factory=dict)
    kept_since: Mapping[str, float] = field(default_factory=dict)
    compacted: frozenset[str] = frozenset()
    taken_at: float = 0.0


@dataclass(frozen=True)
class QuarantineRow:
    """The catalog's row of a quarantined object; its state says whether it is held, released or discarded."""

    tenant: str
    data_hash: str
    state: str
    object_key: str
    size_bytes: int
    prefix_hash: str


@dataclass(frozen=True)
class Snapshot:
    """Everything that an observer saw of an archive at one time.

    From the ledgers: `ledger`. From the store: `objects`, `quarantine_objects` and `documents` (commands and policies: their JSON), by key. From the catalog: `rows`,
    `conflict_keys` and `conflicts` (the contents that are not shown, as object keys and as instance and data hash),
    `quarantine_rows`, counts, revisions, `command_rows`, and `due_rows` (by study and event id, the revision that it made),
    `decision_rows` (if it is in force, and the command's id), `policy_rows` (version and rules), `tenants` (of each table's rows), and
    `open_tables`, which show a reader more than its tenant. From the topics: `stored_events`, `settled_events`, `announced_conflicts`, `unreadable` (the places of records), `dead_letters` (the job, and the
    place of the record), `read_records` (of topics that jobs read), `commands`, `dues` (study and event id, of each study in their order),
    `counted_places` (of the last records that a study's dues count), the `deleted` studies, and the data hashes that were `chosen` last.
    `positions` are those of broker and jobs. `cataloged` has what each row is about, with the Unix time of what it is made of (None where
    that may be gone). From the API: what QIDO answers, `wado_hashes`, and how many reads had to be repeated. `known_objects` were read by an audit
    that was killed. `leaks` are places where patient data must not be and are. `restored` says that the
    catalog's database was replaced by a backup of itself since the first instance was sent.
    """

    ledger: tuple[Line, ...] = ()
    objects: Mapping[str, ObjectSeen] = field(default_factory=dict)
    rows: tuple[InstanceRow, ...] = ()
    conflict_keys: frozenset[str] = frozenset()
    conflicts: tuple[tuple[Name, str], ...] = ()
    announced_conflicts: frozenset[tuple[Name, str]] = frozenset()
    quarantine_rows: tuple[QuarantineRow, ...] = ()
    quarantine_objects: Mapping[str, ObjectSeen] = field(default_factory=dict)
    study_counts: Mapping[Study, Counts] = field(default_factory=dict)
    series_counts: Mapping[Series, Counts] = field(default_factory=dict)
    series_modality: Mapping[Series, str | None] = field(default_factory=dict)
    revisions: tuple[Revision, ...] = ()
    settled_events: tuple[Revision, ...] = ()
    stored_events: tuple[StoredEvent, ...] = ()
    unreadable: tuple[Place, ...] = ()
    dead_letters: frozenset[tuple[str, Place]] = frozenset()
    read_records: tuple[ReadRecord, ...] = ()
    cataloged: Mapping[About, float | None] = field(default_factory=dict)
    counted_places: frozenset[tuple[Study, Place]] = frozenset()
    positions: Positions = field(default_factory=Positions)
    commands: tuple[Command, ...] = ()
    command_rows: tuple[Command, ...] = ()
    dues: tuple[tuple[Study, str], ...] = ()
    documents: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    decision_rows: Mapping[Decision, tuple[bool, str]] = field(default_factory=dict)
    policy_rows: Mapping[tuple[str, str, str], tuple[int, Any]] = field(default_factory=dict)
    tenants: Mapping[str, frozenset[str]] = field(default_factory=dict)
    open_tables: tuple[str, ...] = ()
    due_rows: Mapping[tuple[Study, str], int | None] = field(default_factory=dict)
    deleted: frozenset[Study] = frozenset()
    chosen: Mapping[Name, str] = field(default_factory=dict)
    qido_instances: tuple[Name, ...] = ()
    qido_studies: tuple[tuple[Study, Counts], ...] = ()
    qido_series: tuple[tuple[Series, Counts], ...] = ()
    wado_hashes: Mapping[Name, str] = field(default_factory=dict)
    retried_reads: int = 0
    known_objects: int = 0
    leaks: tuple[str, ...] = ()
    restored: bool = False

    @property
    def shown_rows(self) -> tuple[InstanceRow, ...]:
        """Return the rows of instances in studies that are not deleted."""
        return tuple(row for row in self.rows if study_of(row.name) not in self.deleted)


def study_of(name: Name) -> Study:
    """Return the study of an instance."""
    return Study(name.tenant, name.study_uid)


def name_of(line: Line) -> Name:
    """Return the instance that a ledger line is about."""
    return Name(line.tenant, line.study_uid, line.sop_uid)


def key_of(line: Line) -> str:
    """Return the key that the object of a ledger line must have."""
    return f"{line.tenant}/{line.study_uid}/{line.series_uid}/{line.sop_uid}_{line.data_hash}.dcm"


def named(key: str) -> Name:
    """Return the instance that a key names."""
    tenant, study_uid, _, file = [*key.split("/"), "", "", ""][:4]
    return Name(tenant, study_uid, file.split("_")[0])


def by_study(rows: Iterable[InstanceRow]) -> dict[Study, list[InstanceRow]]:
    """Group rows by study."""
    return grouped(rows, lambda row: Study(row.name.tenant, row.name.study_uid))


def grouped(rows: Iterable[InstanceRow], by: Callable[[InstanceRow], Any]) -> dict[Any, list[InstanceRow]]:
    """Group rows by what a function returns for each."""
    groups: dict[Any, list[InstanceRow]] = defaultdict(list)
    for row in rows:
        groups[by(row)].append(row)
    return dict(groups)
