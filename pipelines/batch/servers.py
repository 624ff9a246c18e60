"""The servers of a worker, which opens them itself: what is sent to it are their settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from operators.connectors.kafka.log import KafkaEventLog
from operators.connectors.s3.store import S3ObjectStore
from operators.store.ports import EventLog, ObjectStore
from schemas.settings.servers import BrokerSettings, StoreSettings

# Records that share a request cost the broker, its readers and this process less.
LINGER_MS = 5


class BatchServers(NamedTuple):
    """The store that is read, and the log that is written."""

    store: ObjectStore
    events: EventLog


@asynccontextmanager
async def open_servers(store: StoreSettings, broker: BrokerSettings) -> AsyncIterator[BatchServers]:
    """Open the store and the broker; they belong to the event loop of the caller."""
    async with S3ObjectStore(store) as objects, KafkaEventLog(broker, LINGER_MS) as events:
        yield BatchServers(objects, events)
