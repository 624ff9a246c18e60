"""The catalog job: it writes the events of its topics into PostgreSQL, and publishes events of the changes there."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from pyflink.datastream import StreamExecutionEnvironment

from operators.catalog.flush import flush
from operators.connectors.postgres.catalog import PostgresCatalog
from operators.stream.origin import Origin
from operators.stream.step import FlushFunction
from pipelines.engines.batches import flush_by_shard
from pipelines.engines.kafka import Reading, records, send
from pipelines.jobs import CATALOG
from schemas.settings.jobs import JobSettings
from schemas.settings.servers import BrokerSettings, CatalogSettings


def build(
    env: StreamExecutionEnvironment, origin: Origin, broker: BrokerSettings, catalog: CatalogSettings, job: JobSettings
) -> None:
    """Build the job's graph in an environment."""
    arriving = records(env, broker, Reading(CATALOG.name, CATALOG.reads, origin, shards=job.shards))
    flushed = flush_by_shard(arriving, CATALOG.name, partial(catalog_flush, catalog, job.shards, origin), job)
    send(flushed, broker, CATALOG.name)


@contextmanager
def catalog_flush(settings: CatalogSettings, shards: int, origin: Origin) -> Iterator[FlushFunction]:
    """Yield a flush with its own connection, which is closed at the end."""
    with PostgresCatalog(settings, shards) as catalog:
        yield partial(flush, catalog, origin=origin)
