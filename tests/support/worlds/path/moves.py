"""What may befall the archive: moves of the senders and faults of servers, processes and jobs, drawn at random."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from hypothesis import strategies as st

from operators.connectors.memory.stores import DAMAGES
from schemas.events import Action
from tests.support.worlds.path.archive import Archive, Content


@dataclass(frozen=True)
class Send:
    """A sender sends these contents to a gateway in one association."""

    gateway: int
    contents: tuple[Content, ...]

    async def happen(self, archive: Archive) -> None:
        archive.send(self.gateway, self.contents)


@dataclass(frozen=True)
class Command:
    """Someone gives a command about a study."""

    study: int
    action: Action
    expects: int = 1

    async def happen(self, archive: Archive) -> None:
        archive.command(self.study, self.action, self.expects)


@dataclass(frozen=True)
class Fault:
    """A server fails: these shares of requests are refused, lose their answer, or are carried out late."""

    server: str
    refused: float
    answer_lost: float
    late: float

    async def happen(self, archive: Archive) -> None:
        machines = archive.machines
        faults = machines.store_faults if self.server == "store" else machines.broker_faults
        faults.refused, faults.answer_lost, faults.late = self.refused, self.answer_lost, self.late


@dataclass(frozen=True)
class KillGateway:
    """A gateway is killed, and is back some seconds later."""

    gateway: int
    down_s: float

    async def happen(self, archive: Archive) -> None:
        await archive.kill_gateway(self.gateway, self.down_s)


@dataclass(frozen=True)
class KillJob:
    """A job is killed, and goes on from its last checkpoint; the catalog job perhaps between commit and output."""

    job: str
    after_commit: bool

    async def happen(self, archive: Archive) -> None:
        if self.job == "study":
            archive.study_job.restart(archive.now_s)
        elif self.after_commit:
            await archive.catalog_job.work(archive.now_s, dies_after_commit=True)
        else:
            archive.catalog_job.restart()


@dataclass(frozen=True)
class LoseState:
    """The study job's checkpoints are lost: it begins again at the earliest records."""

    async def happen(self, archive: Archive) -> None:
        archive.study_job.begin_again(archive.now_s)


@dataclass(frozen=True)
class Damage:
    """The store's disk damages an instance."""

    which: int
    how: str

    async def happen(self, archive: Archive) -> None:
        archive.damage(self.which, self.how)


@dataclass(frozen=True)
class Lose:
    """The store loses an instance altogether."""

    which: int

    async def happen(self, archive: Archive) -> None:
        archive.lose(self.which)


@dataclass(frozen=True)
class SetClock:
    """Someone sets the clock of a gateway's machine: it is this many hours ahead from now on."""

    gateway: int
    ahead_h: float

    async def happen(self, archive: Archive) -> None:
        archive.clocks[self.gateway].error = timedelta(hours=self.ahead_h)


@dataclass(frozen=True)
class BackUp:
    """A copy of the catalog's database is made."""

    async def happen(self, archive: Archive) -> None:
        archive.back_up()


@dataclass(frozen=True)
class Restore:
    """The catalog's database is replaced by one of its copies, the first of which is empty."""

    which: int

    async def happen(self, archive: Archive) -> None:
        archive.restore(self.which)


@dataclass(frozen=True)
class Pass:
    """Time passes."""

    seconds: float

    async def happen(self, archive: Archive) -> None:  # noqa: ARG002
        await asyncio.sleep(self.seconds)


Move = Send | Command | Fault | KillGateway | KillJob | LoseState | Damage | Lose | SetClock | BackUp | Restore | Pass

_hours = st.sampled_from((-2.0, -0.001, 0.0, 2.0))
_shares = st.sampled_from((0.0, 0.0, 0.2, 0.6, 1.0))
# Of two of these studies, which share each topic's partition, one is in each of two shards.
_studies = st.sampled_from((1, 14, 2))
_contents = st.builds(Content, _studies, st.integers(1, 2), st.integers(0, 1))
_sends = st.builds(Send, st.integers(0, 1), st.lists(_contents, min_size=1, max_size=4).map(tuple))
_actions: st.SearchStrategy[Action] = st.sampled_from(("settle", "expect", "delete", "restore", "choose", "hold"))
_moves: st.SearchStrategy[Move] = st.one_of(
    _sends,
    _sends,
    _sends,
    st.builds(Command, _studies, _actions, st.integers(1, 3)),
    st.builds(Fault, st.sampled_from(("store", "broker")), _shares, _shares, _shares),
    st.builds(KillGateway, st.integers(0, 1), st.floats(0, 20)),
    st.builds(KillJob, st.sampled_from(("study", "catalog")), st.booleans()),
    st.builds(LoseState),
    st.builds(Damage, st.integers(0, 11), st.sampled_from(sorted(DAMAGES))),
    st.builds(Lose, st.integers(0, 11)),
    st.builds(SetClock, st.integers(0, 1), _hours),
    st.builds(BackUp),
    st.builds(Restore, st.integers(0, 3)),
    st.builds(Pass, st.floats(0, 60)),
)


@dataclass(frozen=True)
class History:
    """What befalls an archive: moves, by how many hours its gateways' clocks are wrong at first, shards, and a seed.

    The seed decides all that lies below a move: which request a fault meets, how long each takes.
    """

    moves: tuple[Move, ...]
    clocks_ahead_h: tuple[float, float]
    shards: int
    seed: int


HISTORIES = st.builds(
    History,
    st.lists(_moves, min_size=8, max_size=24).map(tuple),
    st.tuples(_hours, _hours),
    st.integers(1, 2),
    st.integers(0, 2**32),
)
