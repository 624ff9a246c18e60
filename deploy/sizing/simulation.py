"""Hours of a load on a plan, step by step: who waits at the door, and how long what is stored is not found yet.

Every study is sent over an association of its own. Its sender is slowed down while the parts behind the door have no CPU
left; its records wait in the shard of its key.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from operator import itemgetter

from deploy.sizing import costs
from deploy.sizing.load import Load, Study
from deploy.sizing.plan import Plan

STEP_S = 10.0
# After this the simulation ends even if senders still wait.
MOST_STEPS = 20_000
# How much of the last steps' use is kept for the next one's: what is full for an instant is not busy.
SMOOTHED = 0.8
# Less of an instance than this is left by rounding alone.
NOTHING = 1e-6


@dataclass
class Sending:
    """A study on its way: the instances still to be sent, its shard, when it began, and how long it takes if nobody waits."""

    left: float
    shard: int
    began_s: float
    unhindered_s: float


@dataclass
class Course:
    """What happened: each study's wait at the door (s), the records by how long they waited (s), and the highest uses.

    A part's use is the share of its cores that work, over about a minute.
    """

    waits_s: list[float] = field(default_factory=list)
    lags: list[tuple[float, float]] = field(default_factory=list)
    highest: dict[str, float] = field(default_factory=dict)
    smoothed: dict[str, float] = field(default_factory=dict)

    def wait_s(self, share: float) -> float:
        """Return the wait at the door that this share of the studies did not exceed."""
        return at_share([(1.0, wait) for wait in self.waits_s], share)

    def lag_s(self, share: float) -> float:
        """Return the time from answer to found that this share of the instances did not exceed."""
        return costs.LONE_RECORD_S + at_share(self.lags, share)

    def note_use(self, use: dict[str, float]) -> None:
        """Note what share of each part's cores worked in a step."""
        for name, share in use.items():
            self.smoothed[name] = SMOOTHED * self.smoothed.get(name, 0.0) + (1 - SMOOTHED) * share
            self.highest[name] = max(self.highest.get(name, 0.0), self.smoothed[name])


def at_share(weighed: list[tuple[float, float]], share: float) -> float:
    """Return the least value that with all lower ones has this share of the weight."""
    by_value = sorted(weighed, key=itemgetter(1))
    below = accumulate(weight for weight, _ in by_value)
    wanted = share * sum(weight for weight, _ in weighed)
    reached = (value for (_, value), weight in zip(by_value, below, strict=True) if weight >= wanted)
    # By rounding the sums of both orders may differ by a trifle.
    return next(reached, by_value[-1][1] if by_value else 0.0)


def simulate(studies: Iterable[Study], load: Load, plan: Plan, seed: int = 1) -> Course:
    """Return what happens to these studies, which come in the order of their times."""
    luck, course, sending = random.Random(seed), Course(), list[Sending]()
    queues, coming = [0.0] * plan.shards, iter(studies)
    following = next(coming, None)
    for moment_s in (step * STEP_S for step in range(MOST_STEPS)):
        while following is not None and following.at_s < moment_s + STEP_S:
            sending.append(begun(following, load, luck.randrange(plan.shards)))
            following = next(coming, None)
        if following is None and not sending and not any(queues):
            break
        arrived = send_for_a_step(moment_s, sending, load, plan, course)
        serve_for_a_step(queues, arrived, load, plan, course)
        sending = [one for one in sending if one.left > 0]
    return course


def begun(study: Study, load: Load, shard: int) -> Sending:
    """Return a study whose sender begins."""
    return Sending(study.instances, shard, study.at_s, study.instances / association_rate(load))


def association_rate(load: Load) -> float:
    """Return the instances a second over one association that nobody slows down."""
    return 1 / (costs.ASSOCIATION_MS / 1000 + load.instance_bytes / costs.ASSOCIATION_BYTES_PER_S)


def send_for_a_step(moment_s: float, sending: list[Sending], load: Load, plan: Plan, course: Course) -> list[float]:
    """Send what every sender can send in a step; return the instances by shard."""
    rate, arrived = association_rate(load), [0.0] * plan.shards
    wanted = [min(one.left, rate * min(STEP_S, moment_s + STEP_S - one.began_s)) for one in sending]
    demand = demands(sum(wanted), load, plan, synchronous=True)
    share = 1 / max(1.0, *demand.values())
    course.note_use({name: min(1.0, one) for name, one in demand.items()})
    for one, instances in zip(sending, wanted, strict=True):
        one.left -= instances * share
        arrived[one.shard] += instances * share
        if one.left < NOTHING:
            one.left = 0.0
            ended_s = max(moment_s, one.began_s) + instances / rate
            course.waits_s.append(max(0.0, ended_s - one.began_s - one.unhindered_s))
    return arrived


def serve_for_a_step(queues: list[float], arrived: list[float], load: Load, plan: Plan, course: Course) -> None:
    """Catalog what waits in each shard, as far as the shard and the CPU of the jobs and of the database reach."""
    most = costs.SHARD_RECORDS_PER_S * STEP_S
    wanted = [min(most, waiting + new) for waiting, new in zip(queues, arrived, strict=True)]
    demand = demands(sum(wanted), load, plan, synchronous=False)
    share = 1 / max(1.0, *demand.values())
    course.note_use({name: min(1.0, one) for name, one in demand.items()} | {"busiest shard": max(wanted) / most})
    for shard, new in enumerate(arrived):
        if new:
            course.lags.append(
                (new, max(0.0, queues[shard] + new - wanted[shard] * share) / (costs.SHARD_RECORDS_PER_S * share))
            )
        queues[shard] = max(0.0, queues[shard] + new - wanted[shard] * share)
        # Less than a record is none.
        queues[shard] = 0.0 if queues[shard] < 1 else queues[shard]


def demands(instances: float, load: Load, plan: Plan, *, synchronous: bool) -> dict[str, float]:
    """Return what share of each part's cores a step's instances want; above 1 they wait."""
    return {
        part.name: part.core_seconds(instances, instances * load.instance_bytes) / plan.cores[part.name] / STEP_S
        for part in costs.PARTS
        if part.synchronous == synchronous
    }
