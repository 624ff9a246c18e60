"""How many cores and disks a load needs, with the reserve that keeps queues short."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from deploy.sizing import costs
from deploy.sizing.load import DAY_S, Load

# Above this use of a part, what comes by chance at the same time waits for long.
MOST_USED = 0.6
TERABYTE = 1e12
# The price of eight data and four parity blocks.
ERASURE_CODING = 1.5
REPLICAS = 3
TOPIC_DAYS = 7


@dataclass(frozen=True)
class Plan:
    """The cores of each part, and the shards of the catalog job."""

    cores: dict[str, int]
    shards: int


def plan_for(load: Load, rate: float) -> Plan:
    """Return the least plan that carries a rate of instances a second."""
    cores = {part.name: cores_for(part.core_seconds(rate, rate * load.instance_bytes)) for part in costs.PARTS}
    return Plan(cores, cores_for(rate / costs.SHARD_RECORDS_PER_S))


def cores_for(busy: float) -> int:
    """Return how many cores there must be for so many to be busy."""
    return max(1, ceil(busy / MOST_USED))


def read_cores(load: Load) -> Iterator[tuple[str, float, int]]:
    """Yield each part that viewers read from, its CPU seconds for a GB, and its cores while all viewers read."""
    gigabytes_per_s = load.viewers * load.viewer_mbit_per_s / 8 / 1000
    for name, seconds in costs.READ_PER_GB_S.items():
        yield name, seconds, cores_for(seconds * gigabytes_per_s)


@dataclass(frozen=True)
class Disks:
    """What a load writes to disks, in TB: objects and rows in a year, and the topics once they are full."""

    objects: float
    rows: float
    topics: float


def disks_for(load: Load) -> Disks:
    """Return the disks of a load, with the copies that keep them."""
    a_day = load.mean_rate * DAY_S / TERABYTE
    return Disks(
        objects=365 * a_day * (load.instance_bytes + costs.OBJECT_BYTES) * ERASURE_CODING,
        rows=365 * a_day * costs.ROW_BYTES,
        topics=TOPIC_DAYS * a_day * costs.TOPIC_BYTES * REPLICAS,
    )
