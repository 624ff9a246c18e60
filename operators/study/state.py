"""What the study job keeps of a study between two records, and the versioned bytes that it is kept as.

The bytes are JSON whose keys are the names of the fields below: a field that is renamed needs another version. Times
are Unix seconds at which the job saw things, unless a field says otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

VERSION = 1
# A transfer of one instance says nothing of the study: some modalities open one association per image.
SEVERAL = 2


class UnknownState(ValueError):
    """State of a version that this code does not read: the job must stop rather than guess."""


@dataclass(frozen=True, kw_only=True)
class OpenWindow:
    """The instances that arrived since the study was last due.

    `name` is the position of the instance that opened the window; `partition` and `offset` are the position of the
    latest instance, and `cause` is its event. `modality` is the one with the longest quiet time among the instances.
    `releasable` says whether a complete transfer may close the window, `several` whether one of its transfers carried
    several instances, `completed_at` when the last transfer became complete.
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


@dataclass(frozen=True, kw_only=True)
class TransferProgress:
    """A transfer of which something is still missing: its end, or some of its instances.

    `seen` counts the instances that arrived, `instances` is how many its end announced, `window` is the window of the
    latest of them.
    """

    heard_at: float
    seen: int = 0
    window: str = ""
    instances: int | None = None

    @property
    def is_complete(self) -> bool:
        """True if its end came and at least the announced number of instances was seen."""
        return self.instances is not None and self.seen >= self.instances

    @property
    def has_several(self) -> bool:
        """True if it carried enough instances for its end to say something of the study."""
        return max(self.seen, self.instances or 0) >= SEVERAL


@dataclass(frozen=True, kw_only=True)
class TransferEnds:
    """How the study's transfers ended, by the times in their events.

    `broken_at` is when the latest transfer that ended badly did so, `mended_at` when the latest one that ended well
    began.
    """

    heard_at: float
    broken_at: float | None = None
    mended_at: float | None = None

    @property
    def is_broken(self) -> bool:
        """True if a transfer ended badly and none that began after it ended well."""
        return self.broken_at is not None and (self.mended_at is None or self.mended_at <= self.broken_at)


@dataclass(frozen=True, kw_only=True)
class LastDue:
    """When the study was last due, and the quiet time of the window that closed then."""

    at: float
    quiet_s: float


@dataclass(frozen=True, kw_only=True)
class WatchedStudy:
    """The state of one study, besides the entries of its events."""

    tenant: str
    study_uid: str
    window: OpenWindow | None = None
    transfers: Mapping[str, TransferProgress] = field(default_factory=dict)
    ends: TransferEnds | None = None
    due: LastDue | None = None

    @property
    def expects_more(self) -> bool:
        """True if a known transfer is not complete, or a sender has not repeated the transfer that broke."""
        return bool(self.transfers) or (self.ends is not None and self.ends.is_broken)

    @property
    def is_empty(self) -> bool:
        """True if nothing is left that could change what the study job does."""
        return not (self.window or self.transfers or self.ends or self.due)


@dataclass(frozen=True)
class SeenEvent:
    """The entry of one event: the window that counted it, the latest transfers that carried it."""

    window: str = ""
    transfers: tuple[str, ...] = ()


def read_study(head: bytes | None) -> WatchedStudy | None:
    """Read what write_study() returned; None without state. Raises UnknownState."""
    if head is None:
        return None
    kept = _checked(head)["study"]
    return WatchedStudy(
        tenant=kept["tenant"],
        study_uid=kept["study_uid"],
        window=kept["window"] and OpenWindow(**kept["window"]),
        transfers={one: TransferProgress(**transfer) for one, transfer in kept["transfers"].items()},
        ends=kept["ends"] and TransferEnds(**kept["ends"]),
        due=kept["due"] and LastDue(**kept["due"]),
    )


def write_study(study: WatchedStudy) -> bytes:
    """Return the bytes that a study's state is kept as."""
    return orjson.dumps({"v": VERSION, "study": study})


def read_seen(entry: bytes | None) -> SeenEvent:
    """Read what write_seen() returned; an event that was never seen has no window. Raises UnknownState."""
    if entry is None:
        return SeenEvent()
    kept = _checked(entry)["entry"]
    return SeenEvent(kept["window"], tuple(kept["transfers"]))


def write_seen(seen: SeenEvent) -> bytes:
    """Return the bytes that a seen event is kept as."""
    return orjson.dumps({"v": VERSION, "entry": seen})


def _checked(data: bytes) -> dict[str, Any]:
    kept: dict[str, Any] = orjson.loads(data)
    if kept["v"] != VERSION:
        raise UnknownState(f"study state of version {kept['v']}, this code reads {VERSION}")
    return kept
