"""The outboxes of dead processes, which living ones take over and finish."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import structlog

from gateway.intake.outbox.journal import Journal
from gateway.intake.outbox.outbox import Outbox, OutboxPorts, report_file
from operators.errors import Unavailable
from operators.tasks import supervised

# How often a living process looks for the journals of dead ones.
ADOPT_S = 2.0
# How long a journal that could not be read is left alone.
LEAVE_ALONE_S = 60.0

log = structlog.get_logger()


class Adoption:
    """The taking over of the journals in a folder. One that cannot be read keeps no other from being finished."""

    def __init__(self, folder: Path, ports: OutboxPorts) -> None:
        self._folder = folder
        self._ports = ports
        # When each journal that could not be read may be tried again, by its name; its failure was logged.
        self._retry_at: dict[str, float] = {}
        self._is_folder_unreadable = False

    def ownerless(self) -> Iterator[Outbox]:
        """Take over the journals that dead processes have left, and yield the outbox of each."""
        for path in self._paths():
            if self._retry_at.get(path.name, 0.0) > self._ports.clock():
                continue
            try:
                journal = Journal.take_over(path)
            except OSError as error:
                self._leave_alone(path.name, error)
                continue
            if journal is not None:
                yield Outbox(journal, self._ports)

    async def finish(self, outbox: Outbox) -> None:
        """Do all the work that an outbox has left to do, then close it; what fails is logged and left for later."""
        try:
            await outbox.inherit()
            await outbox.settle()
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns this journal alone
            self._leave_alone(outbox.name, error)
        finally:
            self._close(outbox)

    def _close(self, outbox: Outbox) -> None:
        try:
            outbox.close()
        except OSError as error:
            self._leave_alone(outbox.name, error)

    def _paths(self) -> list[Path]:
        """Return the journals in the folder; none while it cannot be read, which is logged once."""
        try:
            paths = Journal.paths(self._folder)
        except OSError as error:
            if not self._is_folder_unreadable:
                log.warning("outbox_folder_unreadable", errno=error.errno)
            self._is_folder_unreadable = True
            return []
        self._is_folder_unreadable = False
        return paths

    def _leave_alone(self, name: str, error: Exception) -> None:
        if name not in self._retry_at:
            report_file(name, error)
        self._retry_at[name] = self._ports.clock() + LEAVE_ALONE_S


async def adopt(folder: Path, ports: OutboxPorts) -> None:
    """Find and finish the outboxes of dead processes until cancelled; no outbox waits for another.

    None is taken over before the store's time is known, by which the ends of its transfers are dated.
    """
    adoption = Adoption(folder, ports)
    async with asyncio.TaskGroup() as group:
        while True:
            with suppress(Unavailable):
                await ports.time.learn_time()
                for outbox in adoption.ownerless():
                    supervised("outbox_finish", adoption.finish(outbox), group)
            await ports.sleep(ADOPT_S)
