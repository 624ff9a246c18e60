"""What the records of an archive's topics say, as the records of a Snapshot."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from tests.audit.collect.topics import Topics
from tests.audit.snapshot import About, Command, Name, Place, ReadRecord, Revision, StoredEvent, Study

# The fields that the functions here read.
FIELDS = frozenset(
    (
        "action",
        "command_offset",
        "command_partition",
        "data_hash",
        "digest",
        "event_id",
        "instance_offset",
        "instance_partition",
        "instances",
        "kind",
        "lost_data_hash",
        "name",
        "object_key",
        "occurred_at",
        "operator",
        "origin_offset",
        "origin_partition",
        "origin_topic",
        "revision",
        "series",
        "series_truncated",
        "size_bytes",
        "sop_uid",
        "state",
        "stored_at",
        "study_uid",
        "tenant",
        "transfer_id",
        "version",
    )
)

# After each of these commands another set of instances is shown: the study job answers with a due.
ANSWERED = ("delete", "restore", "choose")


def snapshot_fields(topics: Topics) -> dict[str, Any]:
    """Return the fields of a Snapshot that come from the topics."""
    records = topics.records
    return {
        "announced_conflicts": frozenset(raised(one) for one in records["instance-conflict"]),
        "unreadable": tuple(one["place"] for one in topics.unreadable),
        "dead_letters": frozenset(dead_letter(one) for one in records["record-rejected"]),
        "read_records": in_order(topics),
        "counted_places": frozenset(chain.from_iterable(map(counted_places, records["study-due"]))),
        "settled_events": tuple(settled(one) for one in records["study-settled"]),
        "stored_events": tuple(announced(one) for one in records["instance-stored"]),
        "commands": tuple(commanded(one) for one in records["study-command"]),
        "dues": tuple(due(one) for one in records["study-due"]),
        "deleted": deleted(records["study-command"]),
        "chosen": chosen(records["study-command"]),
    }


def in_order(topics: Topics) -> tuple[ReadRecord, ...]:
    """Return the records of all topics that jobs read, those of a partition by offset."""
    decoded = (read_record(one) for topic in ROWS for one in topics.records[topic])
    others = (undecoded(one) for one in topics.unreadable if one["place"].topic in ROWS)
    return tuple(sorted(chain(decoded, others), key=lambda one: one.place))


def read_record(record: Mapping[str, Any]) -> ReadRecord:
    """Read any record of a topic that jobs read."""
    place = record["place"]
    return ReadRecord(
        place=place,
        about=about(place.topic, record),
        event_id=record["event_id"],
        study=study_of(record) if record.get("study_uid") else None,
        is_counted=place.topic == "instance-stored" or record.get("action") in ANSWERED,
        appended_at=record["appended_at"],
    )


def undecoded(seen: Mapping[str, Any]) -> ReadRecord:
    """Return a record that no schema decodes."""
    return ReadRecord(seen["place"], None, appended_at=seen["appended_at"])


def about(topic: str, record: Mapping[str, Any]) -> About:
    """Return the row that a record becomes."""
    table, names = ROWS[topic]
    return (table, *(record[name] or "" for name in names))


# Of each topic the table, and the fields that are the row's key.
ROWS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "instance-stored": ("instance", ("tenant", "study_uid", "sop_uid", "data_hash")),
    "transfer-ended": ("transfer", ("tenant", "transfer_id", "study_uid")),
    "instance-quarantined": ("quarantine", ("tenant", "data_hash")),
    "study-command": ("command", ("tenant", "study_uid", "event_id")),
    "policy-changed": ("policy", ("tenant", "kind", "name", "version")),
    "study-due": ("due", ("tenant", "study_uid", "event_id")),
}


def counted_places(record: Mapping[str, Any]) -> Iterator[tuple[Study, Place]]:
    """Yield the places of the last records that a study-due event counts."""
    for topic, name in (("instance-stored", "instance"), ("study-command", "command")):
        if record[f"{name}_offset"] is not None:
            yield study_of(record), Place(topic, record[f"{name}_partition"], record[f"{name}_offset"])


def dead_letter(record: Mapping[str, Any]) -> tuple[str, Place]:
    """Read a record-rejected event: the job, and the place of the record that it rejected."""
    return record["operator"], Place(record["origin_topic"], record["origin_partition"], record["origin_offset"])


def settled(record: Mapping[str, Any]) -> Revision:
    """Read a study-settled event."""
    return Revision(
        study=Study(record["tenant"], record["study_uid"]),
        number=record["revision"],
        version=record["version"],
        digest=record["digest"],
        instances=record["instances"],
        size_bytes=record["size_bytes"],
        series=per_series(record),
        event_id=record["event_id"],
    )


def per_series(record: Mapping[str, Any]) -> dict[str, tuple[int, str]]:
    """Return each series' count and digest; nothing when the record does not list all series."""
    if record["series_truncated"]:
        return {}
    return {one["series_uid"]: (one["instances"], one["digest"]) for one in record["series"]}


def announced(record: Mapping[str, Any]) -> StoredEvent:
    """Read an instance-stored event."""
    name = Name(record["tenant"], record["study_uid"], record["sop_uid"])
    return StoredEvent(name, record["data_hash"], record["object_key"], record["event_id"])


def commanded(record: Mapping[str, Any]) -> Command:
    """Read a study-command event."""
    return Command(study_of(record), record["event_id"], record["action"])


def due(record: Mapping[str, Any]) -> tuple[Study, str]:
    """Read a study-due event: the study, and the event id."""
    return study_of(record), record["event_id"]


def deleted(commands: Iterable[Mapping[str, Any]]) -> frozenset[Study]:
    """Return the studies whose last delete or restore among these study-commands is a delete."""
    deciding = (one for one in commands if one["action"] in ("delete", "restore"))
    last = {study_of(one): one["action"] for one in sorted(deciding, key=rank)}
    return frozenset(study for study, action in last.items() if action == "delete")


def chosen(commands: Iterable[Mapping[str, Any]]) -> dict[Name, str]:
    """Return the data hash of the content that was chosen last, by instance."""
    choices = (one for one in commands if one["action"] == "choose")
    return {Name(*study_of(one), one["sop_uid"]): one["data_hash"] for one in sorted(choices, key=rank)}


def rank(command: Mapping[str, Any]) -> tuple[Any, str]:
    """Return what ranks a command among those of its study: the greatest counts."""
    return command["occurred_at"], command["event_id"]


def study_of(record: Mapping[str, Any]) -> Study:
    """Return the study of a record."""
    return Study(record["tenant"], record["study_uid"])


def raised(record: Mapping[str, Any]) -> tuple[Name, str]:
    """Read an instance-conflict event: the instance, and the data hash of the content that is not shown."""
    return Name(record["tenant"], record["study_uid"], record["sop_uid"]), str(record["lost_data_hash"])
