"""The demo waits for the studies that it has sent, by the broker's events from the moment when it begins to watch."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from confluent_kafka import Producer

from deploy.demo import settled
from deploy.demo.settled import SettledWatch
from deploy.errors import Failed
from schemas.codec import encode
from schemas.events import Event, StudyCataloged, StudySettled, event_id
from schemas.settings.servers import BrokerSettings
from schemas.topics import STUDY_SETTLED

SOON_S = 20.0


class Broker:
    """A broker inside the client library, on a real socket, and a producer to it."""

    def __init__(self) -> None:
        self.producer = Producer({"test.mock.num.brokers": 1, "log_level": 2})
        (broker,) = self.producer.list_topics(timeout=SOON_S).brokers.values()
        self.settings = BrokerSettings(bootstrap=f"{broker.host}:{broker.port}")

    def send(self, *values: bytes, partition: int = 0) -> None:
        for value in values:
            self.producer.produce(STUDY_SETTLED.name, value, partition=partition)
        assert self.producer.flush(SOON_S) == 0


@pytest.fixture
def broker() -> Iterator[Broker]:
    started = Broker()
    started.send(encode(event("1.0")))
    yield started
    started.producer.flush(0)


def event(study_uid: str, revision: int = 1, instances: int = 1) -> StudySettled:
    return StudySettled(
        event_id=event_id(study_uid, str(revision)),
        tenant="local",
        occurred_at=datetime(2026, 3, 1, tzinfo=UTC),
        study_uid=study_uid,
        version=1,
        revision=revision,
        digest="0" * 64,
        signal="quiet",
        instances=instances,
        size_bytes=1,
        series=(),
        series_truncated=False,
        modalities=(),
        sop_classes=(),
    )


def other_event() -> Event:
    common = event("1.2")
    return StudyCataloged(
        event_id=common.event_id, tenant="local", occurred_at=common.occurred_at, study_uid="1.2", version=1
    )


def test_each_study_is_yielded_once_as_it_settles_in_any_partition(broker: Broker) -> None:
    with SettledWatch(broker.settings) as watch:
        broker.send(encode(event("1.2")), encode(event("1.2", revision=2)), partition=3)
        waiting = watch.wait({"1.2", "1.3"}, SOON_S)
        first = next(waiting)
        broker.send(encode(event("1.3")), partition=1)
        rest = list(waiting)

    assert first == event("1.2")
    assert rest == [event("1.3")]


def test_what_settled_before_the_watch_began_does_not_count(broker: Broker) -> None:
    broker.send(encode(event("1.2")))
    with SettledWatch(broker.settings) as watch:
        broker.send(encode(event("1.2", revision=2)))

        assert [found.revision for found in watch.wait({"1.2"}, SOON_S)] == [2]


def test_other_studies_and_other_events_are_passed_over(broker: Broker) -> None:
    with SettledWatch(broker.settings) as watch:
        broker.send(encode(event("9.9")), encode(other_event()), encode(event("1.2")))

        assert list(watch.wait(["1.2"], SOON_S)) == [event("1.2")]


def test_without_studies_there_is_nothing_to_wait_for(broker: Broker) -> None:
    with SettledWatch(broker.settings) as watch:
        assert list(watch.wait([], 0)) == []


def test_studies_that_do_not_settle_in_time_are_counted_and_one_is_named(broker: Broker) -> None:
    with SettledWatch(broker.settings) as watch:
        broker.send(encode(event("1.2")))
        waiting = watch.wait({"1.2", "1.4", "1.3"}, SOON_S)
        assert next(waiting) == event("1.2")
        late = watch.wait({"1.4", "1.3"}, 0)

        with pytest.raises(Failed, match=r"^2 studies not settled within 0 s, 1\.3 among them$"):
            next(late)


def test_a_study_can_be_waited_for_until_it_shows_a_number_of_instances(broker: Broker) -> None:
    with SettledWatch(broker.settings) as watch:
        broker.send(
            *(encode(event("1.2", number, instances)) for number, instances in ((1, 9), (2, 10), (3, 0), (4, 10)))
        )

        assert [watch.until("1.2", instances, SOON_S).revision for instances in (10, 0, 10)] == [2, 3, 4]
        with pytest.raises(Failed, match=r"^study 1\.2 not settled with 10 instances within 0 s$"):
            watch.until("1.2", 10, 0)


def test_a_broker_that_does_not_know_the_topic_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled, "LEADER_S", 0.5)
    empty = Broker()

    with (
        pytest.raises(Failed, match="the broker does not say where study-settled ends: "),
        SettledWatch(empty.settings),
    ):
        pass


def test_a_broker_that_is_away_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled, "LEADER_S", 0.5)
    nowhere = BrokerSettings(bootstrap="127.0.0.1:1")

    with pytest.raises(Failed, match="the broker does not say where study-settled ends: "), SettledWatch(nowhere):
        pass


def test_a_watch_that_finds_no_broker_closes_its_consumer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled, "LEADER_S", 0.1)
    watch = SettledWatch(BrokerSettings(bootstrap="127.0.0.1:1"))

    with pytest.raises(Failed), watch:
        pass

    with pytest.raises(RuntimeError, match="Consumer closed"):
        watch.consumer.assignment()
