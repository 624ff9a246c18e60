"""The use case of a command: its object first, its event second, its answer third, as for an instance.

The object is the command. The outbox publishes the event of one whose process died, or whose broker did not answer.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import cast
from uuid import uuid4

import structlog

from gateway.commands.choice import chosen
from gateway.commands.request import ACTIONS, CommandRequest, check
from gateway.intake.deadlines import ANNOUNCE_S, CLOCK_S, within
from gateway.intake.failpoints import Reached, pass_by
from gateway.intake.outbox.documents import intended
from gateway.intake.outbox.ledger import COMMAND
from gateway.intake.outbox.outbox import Outbox
from gateway.intake.rebuild import Rebuilder
from operators.errors import Rejected, Unavailable
from operators.http.problem import Problem
from operators.store.commands import COMMANDS
from operators.store.ports import EventLog, StoreTime
from schemas.codec import encode
from schemas.events import Action, StudyCommand
from schemas.telemetry import COMMANDS_ASKED
from schemas.topics import STUDY_COMMAND

# For one look at the store: whether there is such a study, or what is under a key.
LOOK_S = 5.0
# How many commands of a study are read from the store at the same time.
AT_ONCE = 16
TICK = timedelta(milliseconds=1)
# The actions that undo each other; a study that nobody has commanded is as after the second of each pair.
PAIRS = (("delete", "restore"), ("hold", "unhold"))
NOTES: Mapping[str, str] = {
    "delete": "the study was deleted before",
    "restore": "the study was not deleted",
    "hold": "the study was on hold before",
    "unhold": "the study was not on hold",
}

log = structlog.get_logger()


@dataclass(frozen=True)
class GivenCommand:
    """A command whose object is stored and whose event is acknowledged.

    A repeat is a command that was given before, under the same id. `note` says if there was nothing to change, as far
    as the study's commands tell; empty otherwise.
    """

    command: StudyCommand
    is_repeat: bool
    note: str = ""


@dataclass(frozen=True)
class CommandPorts:
    """The servers and the outbox that commands are given through."""

    rebuilder: Rebuilder
    events: EventLog
    outbox: Outbox
    time: StoreTime
    reached: Reached = pass_by


class Commands:
    """The giving of commands by one process."""

    def __init__(self, ports: CommandPorts) -> None:
        self._ports = ports
        self._tiers = ports.rebuilder.tiers

    async def give(self, request: CommandRequest) -> GivenCommand:
        """Store the command of a request and publish its event; with an id that was used, publish its event again.

        Raises Problem for a request that cannot be carried out, Unavailable for one that may be carried out when it is
        sent again: its object may exist already, the outbox then publishes its event.
        """
        outcome = "failed"
        try:
            given = await self._give(request)
            outcome = "repeat" if given.is_repeat else "given"
        except Problem as problem:
            outcome = problem.reason
            raise
        except Unavailable as error:
            outcome = f"{error.what}-unavailable"
            raise
        finally:
            # Whoever asks may ask for any word.
            COMMANDS_ASKED.labels(request.action if request.action in ACTIONS else "unknown", outcome).inc()
        return given

    async def _give(self, request: CommandRequest) -> GivenCommand:
        check(request)
        async with within(CLOCK_S):
            await self._ports.time.learn_time()
        earlier = await self._earlier(request)
        same = next((each for each in earlier if each.event_id == request.command_id), None)
        given = await (self._repeat(request, same) if same else self._new(request, earlier))
        command = given.command
        place = {"tenant": command.tenant, "study": command.study_uid, "command": command.event_id}
        log.info("command_given", **place, action=command.action, is_repeat=given.is_repeat)
        return given

    async def _earlier(self, request: CommandRequest) -> list[StudyCommand]:
        """Return the commands that the study has; only that with the request's id has its instance, which may be large.

        There is no limit for all of them together: a study that has thousands must not be beyond command. One that
        cannot be read is logged, and no other waits for its repair.
        """
        keys = await self._tiers.command_keys(request.tenant, request.study_uid)
        earlier = list[StudyCommand]()
        for start in range(0, len(keys), AT_ONCE):
            found = await asyncio.gather(*map(self._read, keys[start : start + AT_ONCE]))
            earlier += (_slim(command, request.command_id) for command in found if command)
        return earlier

    async def _read(self, key: str) -> StudyCommand | None:
        try:
            return await self._tiers.command(key)
        except Rejected as error:
            log.error("command_unreadable", key=key, reason=error.reason)  # noqa: TRY400 - the line is enough
            return None

    async def _repeat(self, request: CommandRequest, command: StudyCommand) -> GivenCommand:
        """Publish the event of a stored command again; raises Problem if it is of another request."""
        if not request.is_of(command):
            raise Problem(409, "id-used", "another command has this id: leave the id out, or give a new one")
        await self._publish(command)
        return GivenCommand(command, is_repeat=True)

    async def _new(self, request: CommandRequest, earlier: Sequence[StudyCommand]) -> GivenCommand:
        if request.action != "expect":
            await self._expect_study(request)
        instance = encode(await chosen(self._ports.rebuilder, request)) if request.action == "choose" else None
        command = StudyCommand(
            event_id=request.command_id or str(uuid4()),
            tenant=request.tenant,
            occurred_at=self._moment(earlier),
            study_uid=request.study_uid,
            action=cast("Action", request.action),
            who=request.who,
            why=request.why,
            expected_instances=request.count,
            sop_uid=request.instance,
            data_hash=request.content,
            instance=instance,
        )
        return await self._store(request, command, _note(request.action, earlier))

    def _moment(self, earlier: Sequence[StudyCommand]) -> datetime:
        """Return the store's time, or later than the study's last command: a clock that was fast must not bind anybody."""
        return max([self._ports.time.now(), *(command.occurred_at + TICK for command in earlier)])

    async def _expect_study(self, request: CommandRequest) -> None:
        """Raise Problem for a study of which no instance is stored."""
        async with within(LOOK_S):
            async for _ in self._tiers.identities(request.tenant, request.study_uid):
                return
        raise Problem(404, "no-such-study", "no instance of this study is stored: look at its UID, and at the tenant")

    async def _store(self, request: CommandRequest, command: StudyCommand, note: str) -> GivenCommand:
        upload, ports = COMMANDS.upload_of(command), self._ports
        with intended(ports.outbox, COMMAND, upload.key, ports.reached):
            is_new = await self._tiers.put(upload)
            ports.reached("after_put")
            if not is_new:
                return await self._repeat(request, await self._stored(upload.key))
            await self._publish(command)
        return GivenCommand(command, is_repeat=False, note=note)

    async def _stored(self, key: str) -> StudyCommand:
        """Return the command that somebody has stored under this key in the meantime."""
        async with within(LOOK_S):
            stored = await self._read(key)
        if stored is None:
            raise Problem(409, "id-used", "an object that is no command has this id: give a new one")
        return stored

    async def _publish(self, command: StudyCommand) -> None:
        async with within(ANNOUNCE_S):
            await self._ports.events.publish(STUDY_COMMAND, command)


def _slim(command: StudyCommand, command_id: str) -> StudyCommand:
    return command if command.event_id == command_id else replace(command, instance=None)


def _note(action: str, earlier: Sequence[StudyCommand]) -> str:
    """Return that an action changes nothing, if the study's earlier commands tell so; else an empty text."""
    pair = next((pair for pair in PAIRS if action in pair), ())
    before = max(
        (each for each in earlier if each.action in pair), key=lambda it: (it.occurred_at, it.event_id), default=None
    )
    return NOTES[action] if pair and action == (before.action if before else pair[1]) else ""
