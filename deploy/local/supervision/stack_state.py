"""The state of the stack in a data folder, which its supervisor writes to a file for other processes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from deploy.errors import Failed
from deploy.local.json_file import write_json
from deploy.local.supervision import processes
from deploy.local.supervision.processes import Process


@dataclass(frozen=True)
class ServerState:
    """A server's present process, whether it was healthy when last checked, and how often it was started."""

    process: Process
    is_healthy: bool
    starts: int

    def to_row(self) -> list[Any]:
        """Return the state as a row of the state file."""
        return [self.process.pid, self.process.started, self.is_healthy, self.starts]

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Self:
        """Return the state that to_row() returned."""
        pid, started, *rest = row
        return cls(Process(pid, started), *rest)


@dataclass(frozen=True)
class StackState:
    """One run of a stack: its id, its supervisor, its servers, its watchdog, and whether all servers became healthy.

    `boot` names the system's boot, since process ids mean nothing after the next boot. `plan` holds what another
    process needs to know of the stack: its ports and settings.
    """

    run_id: str
    boot: str
    supervisor: Process
    servers: Mapping[str, ServerState]
    watchdog: ServerState | None = None
    is_ready: bool = False
    plan: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Replace the state file; its keys stay as they are, since another release may read it."""
        head = {"run": self.run_id, "boot": self.boot, "supervisor": [self.supervisor.pid, self.supervisor.started]}
        servers = {name: server.to_row() for name, server in self.servers.items()}
        watchdog = self.watchdog and self.watchdog.to_row()
        write_json(path, head | {"servers": servers, "watchdog": watchdog, "ready": self.is_ready, "about": self.plan})

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read the state file; None when there is none, or it was written before the system's last boot.

        Raises Failed when the file cannot be read.
        """
        try:
            record = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Failed(
                f"{path.parent} cannot be read ({error.strerror}): set FLUORO_DATA to a data folder"
            ) from error
        return cls.from_record(record) if record.get("boot") == processes.boot_id() else None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the state that write() wrote."""
        servers = {name: ServerState.from_row(row) for name, row in record["servers"].items()}
        # A release before this one wrote no watchdog.
        row = record.get("watchdog")
        watchdog = ServerState.from_row(row) if row else None
        supervisor = Process(*record["supervisor"])
        return cls(record["run"], record["boot"], supervisor, servers, watchdog, record["ready"], record["about"])
