"""Laws of the store's time: no clock that is set, and no delay of a request, puts one gateway before another."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from operators.store.clock import StoreClock

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp()
DAY = 86400.0
# How often a gateway asks while it learns the time, and the longest that half of a request takes here.
ASK_AGAIN_S = 0.02
HALF_S = 0.03
# One gateway may be ahead by the time between two requests, and the other behind.
BETWEEN_S = 2 * (2 * HALF_S + ASK_AGAIN_S)

halves = st.floats(0, HALF_S)
skews = st.one_of(st.just(0.0), st.floats(-3, 3), st.floats(-DAY, DAY))


@dataclass
class Gateway:
    """A gateway's machine: how wrong its clock is now, and what the gateway knows of the store's."""

    world: "World"
    ahead_s: float
    clock: StoreClock = field(init=False)

    def __post_init__(self) -> None:
        self.clock = StoreClock(lambda: self.world.true + self.ahead_s, lambda: self.world.true - NOON)

    def ask(self, before_s: float, after_s: float) -> None:
        asked = self.clock.steady()
        self.world.true += before_s
        second = float(int(self.world.true))
        self.world.true += after_s
        self.clock.learn(second, asked, self.clock.steady())

    def learn(self, data: st.DataObject) -> None:
        while not self.clock.is_known:
            self.ask(data.draw(halves), data.draw(halves))
            self.world.true += ASK_AGAIN_S


@dataclass
class World:
    """The true time, which is the store's."""

    true: float = NOON


@given(st.lists(skews, min_size=2, max_size=2), st.floats(0, 1), st.data())
def test_what_a_gateway_stores_later_than_another_has_the_later_date(
    ahead: list[float], fraction: float, data: st.DataObject
) -> None:
    world = World(NOON + fraction)
    gateways = [Gateway(world, ahead_s) for ahead_s in ahead]
    for gateway in gateways:
        gateway.learn(data)
    moments = []
    for number in data.draw(st.lists(st.integers(0, 1), min_size=1, max_size=10)):
        world.true += BETWEEN_S
        gateways[number].ahead_s = data.draw(skews)
        moments.append(gateways[number].clock.now())
        gateways[number].ask(data.draw(halves), data.draw(halves))

    assert moments == sorted(set(moments))


@given(st.lists(st.tuples(halves, halves, st.floats(0, 300)), min_size=1, max_size=30))
def test_the_clock_of_a_machine_that_is_right_is_taken_as_it_is(requests: list[tuple[float, float, float]]) -> None:
    world = World()
    gateway = Gateway(world, 0.0)
    offset = gateway.clock.offset
    for before_s, after_s, rest_s in requests:
        gateway.ask(before_s, after_s)
        world.true += rest_s

    assert gateway.clock.offset == offset
