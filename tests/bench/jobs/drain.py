"""How fast all jobs together work through a full topic: events of instances that do not exist, published at once."""

import time
from collections.abc import Iterator
from dataclasses import replace

from confluent_kafka import Producer

from operators.connectors.kafka.log import producer_config
from operators.dicom.instance import data_hasher
from schemas.codec import decode, encode
from schemas.events import InstanceStored, event_id
from schemas.objects import Identity
from schemas.settings.servers import BrokerSettings
from schemas.topics import INSTANCE_STORED, study_key
from tests.bench.archives import FLUORO
from tests.bench.jobs.catalog import rows_of
from tests.bench.machine.meter import metered
from tests.bench.plan import Plan, say
from tests.bench.report.rounds import ITEMS, Round, Row, rows
from tests.support.data.generate import Instance, Volume, instances
from tests.support.worlds.reading import stored

EVENTS, STUDIES = 20_000, 80
# So many studies arrive at the same time, an instance of each in turn.
SIDE_BY_SIDE = 4
ROOT = "1.2.826.0.1.3680043.2.3"
DRAINED_S = 180.0
POLL_S = 0.1


def section(plan: Plan) -> list[Row]:
    """Publish the events; return the row of the rate until all are rows, and of that until all jobs are idle."""
    root = f"{ROOT}.{next(plan.seeds)}."
    records = list(events(next(instances(Volume())), root))
    say(f"{EVENTS} events, published at once")
    with rows_of(plan.stack) as catalog, metered(plan.ours.heads) as cost:
        began = time.monotonic()
        publish(plan.stack.plan.broker, records)
        until = began + DRAINED_S
        while catalog.instances(root) < EVENTS:
            if time.monotonic() > until:
                raise TimeoutError(f"the topic was not drained in {DRAINED_S:.0f} s")
            time.sleep(POLL_S)
        seconds = time.monotonic() - began
    drained = Round(EVENTS, seconds)
    idle = Round(EVENTS, cost.seconds, cost.used.families, cost.peak_bytes, cost.others)
    return [
        *rows(f"{EVENTS} events in a topic, until all are queryable", ITEMS, {FLUORO: [drained]}, FLUORO),
        *rows(f"{EVENTS} events in a topic, until all jobs are idle", ITEMS, {FLUORO: [idle]}, FLUORO),
    ]


def events(ct: Instance, root: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and value of each event: those of a CT slice, under other UIDs."""
    _, record = stored(b"".join((ct.meta, *ct.parts)), 0)
    template = decode(record.value)
    assert isinstance(template, InstanceStored)
    for number in range(EVENTS):
        block, place = divmod(number, EVENTS // STUDIES * SIDE_BY_SIDE)
        event = of_study(template, f"{root}{block * SIDE_BY_SIDE + place % SIDE_BY_SIDE}", place // SIDE_BY_SIDE)
        yield study_key(event.tenant, event.study_uid), encode(event)


def of_study(template: InstanceStored, study_uid: str, number: int) -> InstanceStored:
    """Return the event of an instance of a study, in a transfer that does not end."""
    digest = data_hasher(f"{study_uid}.{number}").hexdigest()
    identity = Identity("local", study_uid, f"{study_uid}.1", f"{study_uid}.1.{number}", digest)
    return replace(
        template,
        event_id=event_id("instance-stored", "local", study_uid, identity.sop_uid, digest),
        study_uid=study_uid,
        series_uid=identity.series_uid,
        sop_uid=identity.sop_uid,
        data_hash=digest,
        object_key=identity.key,
        transfer_id=study_uid,
    )


def publish(settings: BrokerSettings, records: list[tuple[bytes, bytes]]) -> None:
    """Publish records as the gateway does."""
    producer = Producer(producer_config(settings))
    for key, value in records:
        producer.produce(INSTANCE_STORED.name, value, key)
    if left := producer.flush(DRAINED_S):
        raise TimeoutError(f"{left} events were not published")
