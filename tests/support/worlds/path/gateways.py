"""Gateway processes that are killed and started again: the real acceptance and outbox, in virtual time."""

import asyncio
import errno
from collections.abc import Callable, Coroutine, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from gateway.intake.accept import Acceptance, AcceptancePorts, Incoming
from gateway.intake.outbox.adoption import adopt
from gateway.intake.outbox.journal import Journal, Line, Replacement
from gateway.intake.outbox.outbox import Outbox, OutboxPorts
from gateway.intake.quarantine import Quarantine, QuarantineRules
from gateway.intake.rebuild import Rebuilder
from gateway.intake.spool import Room, SpoolLimits
from gateway.intake.tiers import TieredStore
from gateway.intake.transfer import Transfer
from operators.connectors.memory.stores import MemoryEventLog, MemoryObjectStore
from operators.store.clock import StoreClock
from tests.support.worlds.intake import CT, EXPLICIT
from tests.support.worlds.path.servers import Connection, Faults, SeenEventLog, SeenStore

T = TypeVar("T")

LATE_PUT_S = 60.0
PREAMBLE_BYTES = 128
RULES = QuarantineRules(timedelta(days=30), 2**30, 300.0)


class ProcessKilled(Exception):
    """The process that was to answer is dead."""


class MortalJournal(Journal):
    """A journal of the process in whose task it was made; nothing is written once that process is dead."""

    def __init__(self, path: Path, descriptor: int) -> None:
        super().__init__(path, descriptor)
        self._is_dead = False
        OWNER.get().append(self)

    def die(self) -> None:
        """Release the lock and nothing else, as the kernel does for a killed process."""
        if self._descriptor >= 0:
            self.close()
        self._is_dead = True

    def append(self, line: Line) -> int:
        return self.size_bytes if self._is_dead else super().append(line)

    def clear(self) -> None:
        if not self._is_dead:
            super().clear()

    def replacement(self) -> Replacement:
        if self._is_dead:
            raise OSError(errno.EBADF, "the process is dead")
        return super().replacement()

    def set_aside(self, lines: Iterable[bytes]) -> Path:
        return super().set_aside(() if self._is_dead else lines)

    def delete(self) -> None:
        if not self._is_dead:
            super().delete()

    def close(self) -> None:
        if not self._is_dead and self._descriptor >= 0:
            super().close()


OWNER: ContextVar[list[MortalJournal]] = ContextVar("OWNER")


@dataclass
class Machines:
    """What outlives gateway processes: the store, the broker, the folder of journals, and the network's faults."""

    folder: Path
    chance: Random
    store: MemoryObjectStore = field(default_factory=MemoryObjectStore)
    events: MemoryEventLog = field(default_factory=MemoryEventLog)
    store_faults: Faults = field(default_factory=Faults)
    broker_faults: Faults = field(default_factory=Faults)


@dataclass
class Clock:
    """The clock of a gateway's machine: it may be wrong, and it may jump."""

    true: Callable[[], datetime]
    error: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        """Return the machine's time."""
        return self.true() + self.error


class Process:
    """One gateway process: its acceptance, its outbox, and the tasks that work on outboxes."""

    def __init__(self, machines: Machines, clock: Clock) -> None:
        self.is_dead = asyncio.get_running_loop().create_future()
        self._chance = machines.chance
        self._journals: list[MortalJournal] = []
        OWNER.set(self._journals)
        self._connections = (
            Connection("store", machines.chance, machines.store_faults),
            Connection("broker", machines.chance, machines.broker_faults),
        )
        loop = asyncio.get_running_loop()
        time = StoreClock(lambda: clock().timestamp(), loop.time)
        store = SeenStore(machines.store, self._connections[0], time)
        events = SeenEventLog(machines.events, self._connections[1])
        tiers = TieredStore(store)
        ports = OutboxPorts(
            events,
            Rebuilder(tiers, machines.folder),
            LATE_PUT_S,
            store,
            clock=loop.time,
            sleep=self._connections[0].sleep,
        )
        self.outbox = Outbox(MortalJournal.create(machines.folder), ports)
        limits = SpoolLimits(2**20, 2**20, machines.folder)
        quarantine = Quarantine(store, events, RULES)
        self.acceptance = Acceptance(
            AcceptancePorts(tiers, events, self.outbox, quarantine, Room(2**24), limits, store)
        )
        self._tasks = [loop.create_task(self.outbox.run()), loop.create_task(adopt(machines.folder, ports))]

    def begin_transfer(self) -> Transfer:
        """Return a new transfer of this process."""
        return Transfer(self.outbox, "local", "SENDER", "FLUORO")

    def receive(self, sop_uid: str, data: bytes) -> Incoming:
        """Receive a data set by C-STORE, or after a file meta of its sender's."""
        incoming = self.acceptance.receive(CT, sop_uid, EXPLICIT)
        if self._chance.random() < 0.5:
            incoming.body.close()
            prefix = b"II*\0".ljust(PREAMBLE_BYTES, b"\0") + incoming.prefix[PREAMBLE_BYTES:]
            incoming = self.acceptance.receive_part10(CT, EXPLICIT, prefix)
        incoming.body.write(memoryview(data))
        return incoming

    async def serve(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what a task of the process returns; raises ProcessKilled when the process dies before."""
        if self.is_dead.done():
            # Nobody connects to a dead process: it writes no intent, and so must store nothing.
            work.close()
            raise ProcessKilled
        OWNER.set(self._journals)
        task = asyncio.get_running_loop().create_task(work)
        # A task of a dead process may end much later; nobody asks how.
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        self._tasks.append(task)  # type: ignore[arg-type]
        await asyncio.wait((task, self.is_dead), return_when=asyncio.FIRST_COMPLETED)
        if self.is_dead.done():
            raise ProcessKilled
        return task.result()

    def kill(self) -> None:
        """Kill the process: no request of it is answered any more, and nothing more is written."""
        for connection in self._connections:
            connection.cut()
        for journal in self._journals:
            journal.die()
        self.is_dead.set_result(None)

    def failures(self) -> list[BaseException]:
        """Return the errors by which background tasks of the process ended."""
        ended = (task for task in self._tasks[:2] if task.done() and not task.cancelled())
        return [error for task in ended if (error := task.exception())]
