"""How long the jobs take: from acknowledged to queryable at a steady rate, and from due to settled."""

import time
from collections.abc import Sequence

from deploy.local.running import RunningStack
from schemas.settings.jobs import StudySettings
from schemas.settings.reading import load
from tests.bench import latency
from tests.bench.archives import FLUORO, Archive, fluoro
from tests.bench.ingest import loads, senders
from tests.bench.jobs.catalog import Rows, rows_of
from tests.bench.machine.meter import metered
from tests.bench.plan import Plan, say
from tests.bench.report.rounds import ITEMS, Round, Row, rows
from tests.bench.stacks import own_stack
from tests.support.data.generate import Instance, Volume

# The mean of a large hospital network: 50,000 studies of 200 instances a day.
RATE = 116.0
LANES, SLICES = 6, 84
# 504 instances: what the first 500 after a start have to wait.
STUDIES_COLD, STUDIES_WARM = 6, 24
SETTLED, SETTLED_EACH = 10, 3
SETTLED_S = 60.0
POLL_S = 0.02


def section(plan: Plan) -> list[Row]:
    """Return the rows of both delays; a stack of its own is started for the first 500 instances."""
    cold: list[Row] = []
    if plan.is_fresh:
        say(f"the first {STUDIES_COLD * SLICES} instances after a start, at {RATE:.0f}/s")
        with own_stack(plan.folder / "cold") as stack:
            cold, _ = at_a_steady_rate("first 500 after a start", fluoro(stack), stack, next(plan.seeds), STUDIES_COLD)
    say(f"{STUDIES_WARM * SLICES} instances at {RATE:.0f}/s")
    warm, every = at_a_steady_rate("warm", plan.ours, plan.stack, next(plan.seeds), STUDIES_WARM)
    lines = [latency.line(one) for one in every]
    plan.ledger.plan(lines)
    plan.ledger.answers(lines, "acked", "0000")
    say(f"{SETTLED} studies, each awaited until it is settled")
    return [*cold, *warm, *settled(plan)]


def at_a_steady_rate(
    name: str, archive: Archive, stack: RunningStack, seed: int, studies: int
) -> tuple[list[Row], Sequence[Instance]]:
    """Send studies at RATE over LANES associations; return the rows, and what was sent."""
    every = latency.made(Volume(studies=studies, slices=SLICES, seed=seed))
    with metered(archive.heads) as cost:
        clock = latency.run(latency.split(every, LANES), stack, RATE)
    if clock.failed or len(clock.seen) != len(every):
        raise senders.NotStored(f"{len(clock.failed)} refused, {len(clock.seen)} of {len(every)} queryable")
    seconds = max(clock.acked.values()) - min(clock.due.values())
    queryable = Round(len(every), seconds, cost.used.families, cost.peak_bytes, cost.others, clock.delays())
    acked = Round(len(every), seconds, times_s=clock.late())
    return [
        *rows(f"acknowledged to queryable, {RATE:.0f}/s, {name}", ITEMS, {FLUORO: [queryable]}, FLUORO),
        *rows(f"due to acknowledged, {RATE:.0f}/s, {name}", ITEMS, {FLUORO: [acked]}, FLUORO),
    ], every


def settled(plan: Plan) -> list[Row]:
    """Send small studies one after the other; return the row of the seconds from due to settled."""
    wait_s = load(StudySettings, plan.stack.plan.settings("reader")).released_s
    with rows_of(plan.stack) as catalog:
        late_s = [max(0.0, seconds_to_settled(plan, catalog) - wait_s) for _ in range(SETTLED)]
    # One at a time, so that there is no rate.
    one = Round(0, sum(late_s), times_s=late_s)
    return rows(f"due to settled, {wait_s:g} s after the association's end", ITEMS, {FLUORO: [one]}, FLUORO)


def seconds_to_settled(plan: Plan, catalog: Rows) -> float:
    """Send one study; return the seconds from the end of its association until it has a revision."""
    with plan.files() as folder:
        sent = loads.small(1, SETTLED_EACH, next(plan.seeds), folder)
        lines = [sample.line for sample in sent.samples]
        plan.ledger.plan(lines)
        senders.storescu(plan.dcmtk, plan.ours, sent)
    released = time.monotonic()
    plan.ledger.answers(lines, "acked", "0000")
    while not catalog.has_revision(lines[0].study_uid):
        if time.monotonic() > released + SETTLED_S:
            raise TimeoutError(f"a study was not settled {SETTLED_S:.0f} s after its association's end")
        time.sleep(POLL_S)
    return time.monotonic() - released
