"""The ledger of a sender: a JSON line for each instance before it is sent, and a line for each answer.

Every line is on the disk before the call that wrote it returns, so that a sender that is killed still knows what it may
have sent. The auditor judges an archive by its senders' ledgers alone.
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

# The strongest of an instance's lines counts. `failed` is the weakest of the answers: an earlier attempt, which had no
# answer, may have stored the instance.
STRENGTH: dict[State, int] = {"planned": 0, "failed": 1, "unknown": 2, "acked": 3}


@dataclass(frozen=True)
class Line:
    """One instance at one moment; `data_hash` is empty where the sender cannot know the bytes that it sends."""

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
        """Return the instance and the hash of its content."""
        return self.tenant, self.study_uid, self.sop_uid, self.data_hash


class Ledger:
    """A ledger that is written, from any thread."""

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
        """Record what is about to be sent."""
        self._append(replace(line, state="planned") for line in lines)

    def answer(self, line: Line, state: State, status: str) -> None:
        """Record the archive's answer, or that there was none."""
        self.answers([line], state, status)

    def answers(self, lines: Iterable[Line], state: State, status: str) -> None:
        """Record the same answer for several instances."""
        self._append(replace(line, state=state, status=status) for line in lines)

    def _append(self, lines: Iterable[Line]) -> None:
        now = datetime.now(UTC).isoformat()
        text = "".join(json.dumps(asdict(replace(line, time=now))) + "\n" for line in lines)
        with self._lock:
            self._file.write(text.encode())
            self._file.flush()
            os.fsync(self._file.fileno())


def read(*paths: Path) -> list[Line]:
    """Return the line that counts for every content in these ledgers; a line that was cut by a kill is left out."""
    known: dict[tuple[str, ...], Line] = {}
    for path in paths:
        for text in path.read_bytes().split(b"\n")[:-1]:
            try:
                line = Line(**json.loads(text))
            except TypeError as error:
                raise ValueError(f"{path} is no ledger: {error}") from error
            before = known.get(line.content)
            if before is None or STRENGTH[line.state] >= STRENGTH[before.state]:
                known[line.content] = line
    return list(known.values())
