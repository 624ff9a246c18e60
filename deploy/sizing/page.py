"""The page about sizes, docs/sizing.md: the text of sizing.template.md, with what measurements and simulation say."""

from collections.abc import Iterator
from pathlib import Path
from string import Template

from deploy.documents.page import table
from deploy.sizing import costs
from deploy.sizing.load import Load, studies_at
from deploy.sizing.plan import Plan, disks_for, plan_for, read_cores
from deploy.sizing.simulation import Course, simulate

TEMPLATE = Path(__file__).with_name("sizing.template.md")
SEED = 1
HALF_AN_HOUR_S = 1800.0
# The burst's rate is multiplied by these, to see what breaks first.
FACTORS = (1.25, 1.5, 1.75)
SIMULATED = (
    "half an hour of",
    "instances/s",
    "busiest",
    "p99 of the wait at the door",
    "found after: p50",
    "p99",
    "longest",
)


def text() -> str:
    """Return the page, for the load that the archive is designed for."""
    load = Load()
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        costs=costs_table(),
        load=load_table(load),
        cores=cores_table(load),
        disks=disks_table(load),
        reading=reading_table(load),
        simulated=simulated_table(load),
        shard_rate=f"{costs.SHARD_RECORDS_PER_S:,.0f}",
    )


def costs_table() -> str:
    """Return what each part costs."""
    rows = [(one.name, f"{one.per_instance_ms:.1f} ms", f"{one.per_gb_s:.1f} s") for one in costs.PARTS]
    return table(("part", "CPU for each instance", "CPU for each GB more"), rows)


def load_table(load: Load) -> str:
    """Return a load's rates."""
    rates = {"mean of a day": load.mean_rate, "busiest hour": load.busiest_rate, "burst": load.burst_rate}
    rows = [(name, f"{rate:,.0f}/s", f"{rate * load.instance_bytes / 1e6:,.0f}") for name, rate in rates.items()]
    return table(("", "instances", "MB/s"), rows)


def cores_table(load: Load) -> str:
    """Return the cores of each part for a load's mean, its busiest hour and its burst."""
    plans = [plan_for(load, rate) for rate in (load.mean_rate, load.busiest_rate, load.burst_rate)]
    rows = [(part.name, *(str(plan.cores[part.name]) for plan in plans)) for part in costs.PARTS]
    rows.append(("together", *(str(sum(plan.cores.values())) for plan in plans)))
    rows.append(("shards of the catalog job", *(str(plan.shards) for plan in plans)))
    return table(("cores of", "mean of a day", "busiest hour", "burst"), rows)


def disks_table(load: Load) -> str:
    """Return what a load writes to disks."""
    disks = disks_for(load)
    rows = [
        ("objects, with erasure coding 8 + 4", f"{disks.objects:,.0f} TB a year"),
        ("PostgreSQL, one copy", f"{disks.rows:,.1f} TB a year"),
        ("topics, three replicas of seven days", f"{disks.topics:,.2f} TB"),
    ]
    return table(("disks", "needed"), rows)


def reading_table(load: Load) -> str:
    """Return the cores for the load's viewers."""
    rows = [(name, f"{seconds:.1f} s", str(cores)) for name, seconds, cores in read_cores(load)]
    return table(("part", "CPU for each GB read", "cores for all viewers at once"), rows)


def simulated_table(load: Load) -> str:
    """Return what the simulation says about half an hour of the busiest hour, and of the burst and more than that."""
    plan = plan_for(load, load.burst_rate)
    moments = {"the busiest hour": load.busiest_rate, "the burst": load.burst_rate}
    moments |= {f"the burst, {factor:g}-fold": factor * load.burst_rate for factor in FACTORS}
    return table(SIMULATED, [(name, *simulated(load, plan, rate)) for name, rate in moments.items()])


def simulated(load: Load, plan: Plan, rate: float) -> Iterator[str]:
    """Yield the cells of half an hour at a rate."""
    course = simulate(studies_at(rate, HALF_AN_HOUR_S, load, SEED), load, plan)
    yield f"{rate:,.0f}"
    yield busiest(course)
    yield f"{course.wait_s(0.99):,.0f} s"
    for share in (0.5, 0.99, 1.0):
        yield f"{course.lag_s(share):,.1f} s"


def busiest(course: Course) -> str:
    """Return the part that was used most, and how much."""
    name, share = max(course.highest.items(), key=lambda one: one[1])
    return f"{name}, {share:.0%}"
