"""The whole path under one clock: senders, two gateways, the study job and the catalog job, and what befalls them."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random
from uuid import uuid5

from gateway.intake.transfer import Transfer
from operators.connectors.memory.catalog import MemoryCatalog
from operators.connectors.memory.stores import MemoryObjectStore, StoredBytes
from operators.dicom.attributes import TAGS
from operators.dicom.instance import data_hasher, prefix_hash
from operators.errors import Unavailable
from schemas.codec import encode
from schemas.events import NAMESPACE, Action, InstanceStored, StudyCommand
from schemas.objects import Bucket, Envelope, Identity
from schemas.topics import INSTANCE_STORED, STUDY_COMMAND
from tests.support.data.small_instances import short_element
from tests.support.worlds.catalog_histories import NOON
from tests.support.worlds.intake import CT, EXPLICIT
from tests.support.worlds.path.gateways import Clock, Machines, Process, ProcessKilled
from tests.support.worlds.path.jobs import CatalogJob, StudyJob
from tests.support.worlds.path.servers import Connection

PATIENT_COMMENTS = 0x00104000
GATEWAYS = 2
JOB_TURN_S = 1.0
RETRY_S = 8.0
# Some senders never repeat what was not acknowledged, the others do it a few times.
TRIES = 4
# Longer than the outbox waits for a late PUT.
HEALED_WITHIN_S = 90.0
# Longer than the study job's limit and its other times together.
IDLE_WITHIN_S = 400.0


@dataclass(frozen=True)
class Content:
    """One content of an instance: its study, its number in the study, and which of its contents."""

    study: int
    number: int
    variant: int = 0

    @property
    def study_uid(self) -> str:
        return f"1.2.3.{self.study}"

    @property
    def sop_uid(self) -> str:
        return f"1.2.3.{self.study}.9.{self.number}"

    @property
    def key(self) -> str:
        return Identity("local", self.study_uid, f"{self.study_uid}.9", self.sop_uid, self.data_hash).key

    @property
    def data_hash(self) -> str:
        hasher = data_hasher(EXPLICIT)
        hasher.update(self.data)
        return hasher.hexdigest()

    @property
    def data(self) -> bytes:
        return _data(self)


@cache
def _data(content: Content) -> bytes:
    elements = (
        (TAGS["SOPClassUID"], "UI", CT),
        (TAGS["SOPInstanceUID"], "UI", content.sop_uid),
        (TAGS["Modality"], "CS", "CT"),
        (PATIENT_COMMENTS, "LT", f"{content.variant}"),
        (TAGS["StudyInstanceUID"], "UI", content.study_uid),
        (TAGS["SeriesInstanceUID"], "UI", f"{content.study_uid}.9"),
    )
    return b"".join(short_element(tag, vr, value.encode()) for tag, vr, value in elements)


@dataclass
class Archive:
    """The machines, the processes that run on them, and what senders were told."""

    folder: Path
    chance: Random
    # By how many hours the clock of each gateway's machine is wrong at first.
    clocks_ahead_h: tuple[float, ...]
    shards: int = 1
    # The content of each acknowledged instance, with the second of its first acknowledgement.
    acknowledged: dict[Content, float] = field(default_factory=dict)
    sent: dict[Content, float] = field(default_factory=dict)
    failures: list[BaseException] = field(default_factory=list)
    was_restored: bool = False
    was_damaged: bool = False
    # An object was stored again under another moment: its envelope was lost, or all of it.
    has_lost_envelope: bool = False

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        store = MemoryObjectStore(clock=lambda: self.now_s)
        self.machines = Machines(self.folder, self.chance, store)
        self.catalog = MemoryCatalog(shards=self.shards)
        self._backups = [self.catalog.tables.backup()]
        self.clocks = [Clock(self.true_time, timedelta(hours=hours)) for hours in self.clocks_ahead_h]
        self.gateways = [Process(self.machines, clock) for clock in self.clocks]
        self._dead: list[Process] = []
        self.study_job = StudyJob(self.machines.events, self.chance, self.now_s)
        self.catalog_job = CatalogJob(self.machines.events, self.catalog, self.chance, self.folder / "jobs")
        self.senders: list[asyncio.Task[None]] = []
        self._jobs = self._loop.create_task(self._run_jobs())

    @property
    def now_s(self) -> float:
        """Return the true time in Unix seconds."""
        return NOON.timestamp() + self._loop.time()

    def true_time(self) -> datetime:
        """Return the true time."""
        return NOON + timedelta(seconds=self._loop.time())

    async def _run_jobs(self) -> None:
        while True:
            await asyncio.sleep(self.chance.uniform(0, 2 * JOB_TURN_S))
            if self.chance.random() < 0.7:
                await self.study_job.work(self.now_s)
            if self.chance.random() < 0.7:
                await self.catalog_job.work(self.now_s)
            if self.chance.random() < 0.2:
                self.study_job.checkpoint()
            if self.chance.random() < 0.2:
                self.catalog_job.checkpoint()

    @property
    def stored(self) -> set[Content]:
        """Return the contents that were sent and have an object, damaged or not."""
        return {content for content in self.sent if self._object(content)}

    @property
    def damaged(self) -> set[Content]:
        """Return the contents whose object has other bytes than were sent, or lacks something."""
        return {content for content in self.stored if not self._is_good(content)}

    def _object(self, content: Content) -> StoredBytes | None:
        return self.machines.store.objects.get((Bucket.HOT, content.key))

    def _is_good(self, content: Content) -> bool:
        kept = self._object(content)
        if kept is None or kept.readable_bytes is not None or not kept.metadata:
            return False
        envelope = Envelope.from_metadata(kept.metadata)
        prefix, data = kept.data[: envelope.prefix_length], kept.data[envelope.prefix_length :]
        return prefix_hash(prefix) == envelope.prefix_hash and data == content.data

    def command(self, study: int, action: Action, expects: int) -> None:
        """Publish a command about a study; its event is published again until the broker has acknowledged it.

        A choice is one of the contents that were announced; without one there is no command.
        """
        chosen = self._any_announced(study) if action == "choose" else None
        if action == "choose" and chosen is None:
            return
        event = StudyCommand(
            event_id=str(uuid5(NAMESPACE, f"command {len(self.senders)}")),
            tenant="local",
            occurred_at=self.true_time(),
            study_uid=Content(study, 0).study_uid,
            action=action,
            who="tester",
            why="a test",
            expected_instances=expects if action == "expect" else None,
            sop_uid=chosen.sop_uid if chosen else None,
            data_hash=chosen.data_hash if chosen else None,
            instance=encode(chosen) if chosen else None,
        )
        self.senders.append(self._loop.create_task(self._publish(event)))

    def _any_announced(self, study: int) -> InstanceStored | None:
        announced = self.machines.events.events(INSTANCE_STORED)
        found = [one for one in announced if isinstance(one, InstanceStored) and one.study_uid == f"1.2.3.{study}"]
        return self.chance.choice(found) if found else None

    async def _publish(self, event: StudyCommand) -> None:
        connection = Connection("broker", self.chance, self.machines.broker_faults)
        while True:
            try:
                await connection.carry(lambda: self.machines.events.publish(STUDY_COMMAND, event))
            except Unavailable:
                await asyncio.sleep(self.chance.uniform(0, RETRY_S))
            else:
                return

    def send(self, gateway: int, contents: tuple[Content, ...]) -> None:
        """Send these contents in one association; perhaps send what was not acknowledged again, to any gateway."""
        self.senders.append(self._loop.create_task(self._send(gateway, contents)))

    async def _send(self, gateway: int, contents: tuple[Content, ...]) -> None:
        for _ in range(self.chance.choice((1, TRIES))):
            contents = await self._associate(self.gateways[gateway], contents)
            if not contents:
                return
            await asyncio.sleep(self.chance.uniform(0, RETRY_S))
            gateway = self.chance.randrange(GATEWAYS)

    async def _associate(self, process: Process, contents: tuple[Content, ...]) -> tuple[Content, ...]:
        """Send these contents to a process; return those that were not acknowledged."""
        unanswered = list(contents)
        transfer = process.begin_transfer()
        try:
            for content in contents:
                self.sent.setdefault(content, self._loop.time())
                if await self._store(process, transfer, content):
                    unanswered.remove(content)
                    self.acknowledged.setdefault(content, self._loop.time())
            await process.serve(_end(transfer, is_aborted=self.chance.random() < 0.2))
        except ProcessKilled:
            return tuple(unanswered)
        return tuple(unanswered)

    async def _store(self, process: Process, transfer: Transfer, content: Content) -> bool:
        incoming = process.receive(content.sop_uid, content.data)
        try:
            await process.serve(process.acceptance.accept(transfer, incoming))
        except Unavailable:
            return False
        finally:
            incoming.body.close()
        return True

    async def kill_gateway(self, number: int, down_s: float) -> None:
        """Kill a gateway, and start another process in its place after some seconds."""
        self.failures += self.gateways[number].failures()
        if not self.gateways[number].is_dead.done():
            self.gateways[number].kill()
        await asyncio.sleep(down_s)
        self._dead.append(self.gateways[number])
        self.gateways[number] = Process(self.machines, self.clocks[number])

    def damage(self, which: int, how: str) -> None:
        """Damage one stored instance on the store's disk, in a way that DAMAGES names."""
        if keys := self._keys():
            self.was_damaged = True
            self.has_lost_envelope = self.has_lost_envelope or how == "no metadata"
            self.machines.store.damage(Bucket.HOT, keys[which % len(keys)], how)

    def lose(self, which: int) -> None:
        """Remove one stored instance from the store."""
        if keys := self._keys():
            self.was_damaged = self.has_lost_envelope = True
            del self.machines.store.objects[Bucket.HOT, keys[which % len(keys)]]

    def _keys(self) -> list[str]:
        return sorted(key for bucket, key in self.machines.store.objects if bucket is Bucket.HOT)

    def back_up(self) -> None:
        """Keep a copy of the database."""
        self._backups.append(self.catalog.tables.backup())

    def restore(self, which: int) -> None:
        """Replace the database by one of its copies; its connections break, so the catalog job is started again."""
        self.catalog.tables.restore(self._backups[which % len(self._backups)])
        self.was_restored = True
        self.catalog_job.restart()

    async def settle(self) -> None:
        """End all faults, and wait until nothing is left to do. Raises AssertionError if something is."""
        for faults in (self.machines.store_faults, self.machines.broker_faults):
            faults.refused = faults.answer_lost = faults.late = 0.0
        await asyncio.gather(*self.senders)
        for number, process in enumerate(self.gateways):
            if process.is_dead.done():
                self._dead.append(process)
                self.gateways[number] = Process(self.machines, self.clocks[number])
        await asyncio.sleep(HEALED_WITHIN_S)
        deadline = self._loop.time() + IDLE_WITHIN_S
        await self.catalog_job.flush_all(self.now_s)
        while not (self.study_job.is_idle and self.catalog_job.is_idle):
            assert self._loop.time() < deadline, "the jobs do not become idle"
            await asyncio.sleep(JOB_TURN_S)
            await self.catalog_job.flush_all(self.now_s)
        self.failures += [error for process in self.gateways for error in process.failures()]

    def close(self) -> None:
        """End all processes, and with them the files that they hold open."""
        for process in self.gateways:
            if not process.is_dead.done():
                process.kill()

    async def replay(self) -> None:
        """Have the study job read everything again without its state."""
        self.study_job.begin_again(self.now_s)
        await self.settle()

    async def repeat_everything(self) -> None:
        """Send every content again that was ever sent."""
        for content in list(self.sent):
            assert not await self._associate(self.gateways[0], (content,)), "a repeat without faults is acknowledged"
        await self.settle()


async def _end(transfer: Transfer, *, is_aborted: bool) -> None:
    if is_aborted:
        transfer.abort()
    else:
        transfer.complete()
