"""What a sender promised itself to remember: one JSON line per instance before it is sent, one per answer.

Every line is on the disk before the call that wrote it returns, so that a killed sender still knows what it may
have sent. The auditor judges the archive by this file alone.
"""

import json
import os
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

State = Literal["planned", "unknown", "failed", "acked"]

# What is known of an instance after all its lines: the strongest word stays. `failed` is the weakest of the answers:
# an earlier attempt without answer may have stored it.
STRENGTH: dict[State, int] = {"planned": 0, "failed": 1, "unknown": 2, "acked": 3}


@dataclass(frozen=True)
class Line:
    """One instance at one moment. `data_hash` is empty where the sender cannot know what bytes go out."""

    state: State
    tenant: str
    study_uid: str
    series_uid: str
    sop_uid: str
    data_hash: str
    transfer_syntax: str = ""
    canary: str = ""
    status: str = ""
    time: str = ""

    @property
    def content(self) -> tuple[str, str, str, str]:
        """Return which content of which instance this is."""
        return self.tenant, self.study_uid, self.sop_uid, self.data_hash


class Ledger:
    """A ledger to write to, from any thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("ab")
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def plan(self, lines: Iterable[Line]) -> None:
        """Remember what is about to be sent."""
        self._append(replace(line, state="planned") for line in lines)

    def answer(self, line: Line, state: State, status: str) -> None:
        """Remember what the archive said, or that it said nothing."""
        self.answers([line], state, status)

    def answers(self, lines: Iterable[Line], state: State, status: str) -> None:
        """Remember the same answer for several."""
        self._append(replace(line, state=state, status=status) for line in lines)

    def _append(self, lines: Iterable[Line]) -> None:
        now = datetime.now(UTC).isoformat()
        text = "".join(json.dumps(asdict(replace(line, time=now))) + "\n" for line in lines)
        with self._lock:
            self._file.write(text.encode())
            self._file.flush()
            os.fsync(self._file.fileno())


def read(*paths: Path) -> list[Line]:
    """Return the last word on every content that these ledgers name; a line cut by a kill is left out."""
    known: dict[tuple[str, ...], Line] = {}
    for path in paths:
        for text in path.read_bytes().split(b"\n")[:-1]:
            line = Line(**json.loads(text))
            before = known.get(line.content)
            if before is None or STRENGTH[line.state] >= STRENGTH[before.state]:
                known[line.content] = line
    return list(known.values())
