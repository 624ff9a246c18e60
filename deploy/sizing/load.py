"""A load: how many studies a day, how large, at which hour, and a burst."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from math import log

HOUR_S = 3600
DAY_S = 24 * HOUR_S
# How many studies begin in each hour of the day, relative to the other hours.
BY_HOUR = (1, 1, 1, 1, 1, 1, 2, 4, 7, 9, 9, 9, 8, 7, 8, 8, 7, 5, 3, 2, 2, 2, 1, 1)
# Of the logarithm of a study's instances: two thirds of the studies lie between a seventh and 1.6 times the mean.
SPREAD = 1.2
LEAST_OF_MEAN, MOST_OF_MEAN = 1 / 20, 25


@dataclass(frozen=True)
class Load:
    """Studies a day, a study's mean instances and size, a burst's rate by the day's mean, and who reads at once."""

    studies_a_day: float = 50_000
    instances: float = 200
    megabytes: float = 200
    burst: float = 10
    viewers: float = 5_000
    viewer_mbit_per_s: float = 50

    @property
    def instance_bytes(self) -> float:
        """Return the mean size of an instance."""
        return self.megabytes * 1e6 / self.instances

    @property
    def mean_rate(self) -> float:
        """Return the instances a second over a day without its burst."""
        return self.studies_a_day * self.instances / DAY_S

    @property
    def busiest_rate(self) -> float:
        """Return the mean of instances a second in the busiest hour of a usual day."""
        return self.mean_rate * 24 * max(BY_HOUR) / sum(BY_HOUR)

    @property
    def burst_rate(self) -> float:
        """Return the instances a second in the burst."""
        return self.mean_rate * self.burst


@dataclass(frozen=True)
class Study:
    """A study that a sender begins to send: when (s), and how many instances."""

    at_s: float
    instances: int


def studies_at(rate: float, seconds: float, load: Load, seed: int) -> Iterator[Study]:
    """Yield studies that come independently of each other at a rate of instances a second; one seed, the same studies."""
    luck = random.Random(seed)
    moment = 0.0
    while (moment := moment + luck.expovariate(rate / load.instances)) < seconds:
        yield Study(moment, instances_of_a_study(load, luck))


def instances_of_a_study(load: Load, luck: random.Random) -> int:
    """Return a number of instances: many studies are small, a few are very large, and their mean is the load's."""
    drawn = luck.lognormvariate(log(load.instances) - SPREAD**2 / 2, SPREAD)
    return max(1, round(min(max(drawn, load.instances * LEAST_OF_MEAN), load.instances * MOST_OF_MEAN)))
