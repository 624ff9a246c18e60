"""All topics of the broker: the event of each, its producers and consumers, how long its records are kept."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.events import (
    Event,
    InstanceConflict,
    InstanceQuarantined,
    InstanceStored,
    PolicyChanged,
    RecordRejected,
    StudyCataloged,
    StudyCommand,
    StudyDue,
    StudyFacts,
    StudySettled,
    TransferEnded,
)

PARTITIONS = 16
DAY_MS = 24 * 3600 * 1000
# The broker dates every record when it appends it. Dated by its sender, the event of something old would be deleted at
# the broker's next retention check, and one from a clock that is an hour ahead would be refused.
DATED_BY_BROKER = {"message.timestamp.type": "LogAppendTime"}
COMPACTED = {"cleanup.policy": "compact"}


@dataclass(frozen=True)
class Topic:
    """One topic: its event, what its keys are made of, who writes and reads it, its settings at the broker.

    A restricted topic holds patient data. Without a retention the topic is compacted: the last record of each key stays for ever.
    """

    name: str
    event: type[Event]
    key: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    restricted: bool = False
    retention_ms: int | None = 30 * DAY_MS
    max_message_bytes: int = 1024 * 1024

    @property
    def kept(self) -> str:
        """Return how long records are kept, in words."""
        return "the last of each key" if self.retention_ms is None else f"{self.retention_ms // DAY_MS} days"

    @property
    def config(self) -> dict[str, str]:
        """Return the topic's settings at the broker."""
        return {
            **(COMPACTED if self.retention_ms is None else {"retention.ms": str(self.retention_ms)}),
            "max.message.bytes": str(self.max_message_bytes),
            "compression.type": "producer",
            **DATED_BY_BROKER,
        }

    def changes_to(self, present: Mapping[str, str]) -> dict[str, str]:
        """Return the settings to change at a topic that exists already with these settings.

        Only what the archive cannot do without: who dates the records, what is kept for ever, and room for the largest record.
        """
        needed = DATED_BY_BROKER | (COMPACTED if self.retention_ms is None else {})
        changes = {name: value for name, value in needed.items() if present.get(name) != value}
        if int(present.get("max.message.bytes", 0)) < self.max_message_bytes:
            changes["max.message.bytes"] = str(self.max_message_bytes)
        return changes


INSTANCE_STORED = Topic(
    name="instance-stored",
    event=InstanceStored,
    key="tenant/study",
    producers=("gateway", "rebuild", "verify"),
    consumers=("study", "catalog"),
    restricted=True,
    retention_ms=7 * DAY_MS,
)
TRANSFER_ENDED = Topic(
    name="transfer-ended",
    event=TransferEnded,
    key="tenant/study or transfer",
    producers=("gateway", "rebuild"),
    consumers=("study", "catalog"),
    retention_ms=INSTANCE_STORED.retention_ms,
)
INSTANCE_QUARANTINED = Topic(
    name="instance-quarantined",
    event=InstanceQuarantined,
    key="tenant/hash",
    producers=("gateway", "rebuild", "deploy.commands quarantine"),
    consumers=("catalog",),
    restricted=True,
)
STUDY_COMMAND = Topic(
    name="study-command",
    event=StudyCommand,
    key="tenant/study",
    producers=("gateway", "rebuild", "verify", "deploy.commands studies"),
    consumers=("study", "catalog"),
    restricted=True,
)
POLICY_CHANGED = Topic(
    name="policy-changed",
    event=PolicyChanged,
    key="tenant/kind/name",
    producers=("gateway", "rebuild", "deploy.commands policies"),
    consumers=("catalog",),
    restricted=True,
    retention_ms=None,
)
STUDY_DUE = Topic(
    name="study-due",
    event=StudyDue,
    key="tenant/study",
    producers=("study",),
    consumers=("catalog",),
    retention_ms=INSTANCE_STORED.retention_ms,
)
STUDY_CATALOGED = Topic(
    name="study-cataloged",
    event=StudyCataloged,
    key="tenant/study",
    producers=("catalog",),
    consumers=(),
)
STUDY_SETTLED = Topic(
    name="study-settled",
    event=StudySettled,
    key="tenant/study",
    producers=("catalog",),
    consumers=(),
)
INSTANCE_CONFLICT = Topic(
    name="instance-conflict",
    event=InstanceConflict,
    key="tenant/study",
    producers=("catalog",),
    consumers=(),
)
STUDY_FACTS = Topic(
    name="study-facts",
    event=StudyFacts,
    key="pseudonym",
    producers=("catalog",),
    consumers=(),
)
RECORD_REJECTED = Topic(
    name="record-rejected",
    event=RecordRejected,
    key="the origin's key",
    producers=("study", "catalog"),
    consumers=(),
    restricted=True,
    retention_ms=7 * DAY_MS,
    max_message_bytes=4 * 1024 * 1024,
)

TOPICS = (
    INSTANCE_STORED,
    TRANSFER_ENDED,
    INSTANCE_QUARANTINED,
    STUDY_COMMAND,
    POLICY_CHANGED,
    STUDY_DUE,
    STUDY_CATALOGED,
    STUDY_SETTLED,
    INSTANCE_CONFLICT,
    STUDY_FACTS,
    RECORD_REJECTED,
)


def study_key(tenant: str, study_uid: str) -> bytes:
    """Return the key of a study's records: it keeps them in one partition, in order."""
    return f"{tenant}/{study_uid}".encode()


def record_key(event: Event) -> bytes:
    """Return the key of an event's record: its study's, pseudonym or policy; without a study its content's or transfer's."""
    if isinstance(event, InstanceQuarantined):
        return f"{event.tenant}/{event.data_hash}".encode()
    if isinstance(event, PolicyChanged):
        return f"{event.tenant}/{event.kind}/{event.name}".encode()
    if isinstance(event, StudyFacts):
        return event.pseudonym.encode()
    if isinstance(event, TransferEnded):
        return study_key(event.tenant, event.study_uid or event.transfer_id)
    return study_key(event.tenant, getattr(event, "study_uid", ""))
