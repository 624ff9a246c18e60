"""The study job's state of one study between two records, and its versioned bytes.

The bytes are JSON whose keys are the names of the fields below, so renaming a field needs a new version. Times are Unix
seconds by the job's clock, unless a field says otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from operators.stream.newer_release import UnknownState

T = TypeVar("T")

VERSION = 2
# Version 1 knew no commands; all else is as it was.
READABLE = (1, 2)
# The end of a transfer with fewer instances does not show that the study is complete: some modalities open one
# association per image.
SEVERAL = 2


# When a command occurred, and its event id: the greatest one of a kind counts.
Rank = tuple[float, str]


@dataclass(frozen=True, kw_only=True)
class CountedCommand:
    """A command that a due counts: its position in its topic, and its event id."""

    partition: int
    offset: int
    cause: str


@dataclass(frozen=True, kw_only=True)
class OpenWindow:
    """The instances that arrived since the study was last due.

    `name` is the position of the instance that opened the window. `partition` and `offset` are the position of the
    latest instance, and `cause` is its event id. `modality` is the modality with the longest quiet time among the
    instances. `releasable` is True if a complete transfer may close the window, `several` if one of the window's
    transfers carried several instances. `completed_at` is when the last transfer became complete. `command` is the last
    command that its due counts.
    """

    name: str
    opened_at: float
    last_at: float
    releasable: bool
    partition: int
    offset: int
    cause: str
    instances: int = 0
    transfers: int = 0
    modality: str = ""
    several: bool = False
    completed_at: float | None = None
    command: CountedCommand | None = None


@dataclass(frozen=True, kw_only=True)
class TransferProgress:
    """A transfer whose end or some of whose instances have not arrived yet.

    `heard_at` is when the transfer was first seen. `seen` counts the instances that arrived, `window` names the window
    of the latest. `instances` is the number that the transfer's end announced, None before the end.
    """

    heard_at: float
    seen: int = 0
    window: str = ""
    instances: int | None = None

    @property
    def is_complete(self) -> bool:
        """True if the end and at least the announced number of instances have arrived."""
        return self.instances is not None and self.seen >= self.instances

    @property
    def has_several(self) -> bool:
        """True if it carried enough instances for its end to show that the study is complete."""
        return max(self.seen, self.instances or 0) >= SEVERAL


@dataclass(frozen=True, kw_only=True)
class TransferEnds:
    """How the study's transfers ended, by the times in their events.

    `broken_at` is the end of the latest transfer that failed, `mended_at` the beginning of the latest transfer that
    succeeded. `heard_at` is when the last end arrived, by the job's clock.
    """

    heard_at: float
    broken_at: float | None = None
    mended_at: float | None = None

    @property
    def is_broken(self) -> bool:
        """True if a transfer failed and no transfer that began later has succeeded."""
        return self.broken_at is not None and (self.mended_at is None or self.mended_at <= self.broken_at)


@dataclass(frozen=True, kw_only=True)
class LastDue:
    """When the study was last due, and the quiet time of the window that closed then."""

    at: float
    quiet_s: float


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """How many instances a command expects in the open window, or in the next one while none is open.

    `heard_at` is when the command arrived.
    """

    heard_at: float
    instances: int
    command: CountedCommand


@dataclass(frozen=True, kw_only=True)
class HeardCommands:
    """When the last command arrived, and the greatest rank of each action of which only the latest counts."""

    heard_at: float
    latest: Mapping[str, Rank] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class WatchedStudy:
    """The state of one study, without the entries of its events."""

    tenant: str
    study_uid: str
    window: OpenWindow | None = None
    transfers: Mapping[str, TransferProgress] = field(default_factory=dict)
    ends: TransferEnds | None = None
    due: LastDue | None = None
    expectation: Expectation | None = None
    commands: HeardCommands | None = None

    @property
    def expects_more(self) -> bool:
        """True if a known transfer is incomplete, or a failed transfer has not been repeated successfully."""
        return bool(self.transfers) or (self.ends is not None and self.ends.is_broken)

    @property
    def is_empty(self) -> bool:
        """True if nothing is left to keep."""
        return not (self.window or self.transfers or self.ends or self.due or self.expectation or self.commands)


@dataclass(frozen=True)
class SeenEvent:
    """The entry of one event: the window that counted it, and the latest transfers that carried it."""

    window: str = ""
    transfers: tuple[str, ...] = ()


def changed(record: T, **changes: object) -> T:
    """Return a record with other values in some fields, as dataclasses.replace() does in four times as long."""
    made = object.__new__(type(record))
    made.__dict__.update(record.__dict__, **changes)
    return made


def read_study(head: bytes | None) -> WatchedStudy | None:
    """Return the study in the bytes of write_study(); None without bytes. Raises UnknownState."""
    if head is None:
        return None
    kept = _checked(head)["study"]
    return WatchedStudy(
        tenant=kept["tenant"],
        study_uid=kept["study_uid"],
        window=kept["window"] and OpenWindow(**_with_command(kept["window"])),
        transfers={transfer_id: TransferProgress(**transfer) for transfer_id, transfer in kept["transfers"].items()},
        ends=kept["ends"] and TransferEnds(**kept["ends"]),
        due=kept["due"] and LastDue(**kept["due"]),
        expectation=kept.get("expectation") and Expectation(**_with_command(kept["expectation"])),
        commands=kept.get("commands") and _commands(kept["commands"]),
    )


def write_study(study: WatchedStudy) -> bytes:
    """Return a study's state as versioned bytes."""
    return orjson.dumps({"v": VERSION, "study": study})


def read_seen(entry: bytes | None) -> SeenEvent:
    """Return the entry in the bytes of write_seen(); an empty entry without bytes. Raises UnknownState."""
    if entry is None:
        return SeenEvent()
    kept = _checked(entry)["entry"]
    return SeenEvent(kept["window"], tuple(kept["transfers"]))


def write_seen(seen: SeenEvent) -> bytes:
    """Return a seen event's entry as versioned bytes."""
    return orjson.dumps({"v": VERSION, "entry": seen})


def _with_command(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "command": CountedCommand(**fields["command"])} if fields.get("command") else fields


def _commands(fields: dict[str, Any]) -> HeardCommands:
    latest = {action: (at, event_id) for action, (at, event_id) in fields["latest"].items()}
    return HeardCommands(heard_at=fields["heard_at"], latest=latest)


def _checked(data: bytes) -> dict[str, Any]:
    kept: dict[str, Any] = orjson.loads(data)
    if kept["v"] not in READABLE:
        raise UnknownState(
            f"study state has version {kept['v']}, but this release reads {VERSION}: run the release that wrote it"
        )
    return kept
