"""The catalog job: instances, ends of transfers, what was kept aside, dues in; rows of PostgreSQL, changes out."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from pyflink.datastream import StreamExecutionEnvironment

from operators.catalog.flush import flush
from operators.connectors.postgres.catalog import PostgresCatalog
from operators.stream.step import FlushFunction
from pipelines.engines.batches import flush_by_shard
from pipelines.engines.flink import Job
from pipelines.engines.kafka import Reading, records, send
from schemas.settings.jobs import JobSettings
from schemas.settings.servers import BrokerSettings, CatalogSettings
from schemas.topics import INSTANCE_QUARANTINED, INSTANCE_STORED, STUDY_DUE, TRANSFER_ENDED

NAME = "catalog"
READS = (INSTANCE_STORED, TRANSFER_ENDED, INSTANCE_QUARANTINED, STUDY_DUE)


def build(env: StreamExecutionEnvironment, broker: BrokerSettings, catalog: CatalogSettings, job: JobSettings) -> None:
    """Wire the job into an environment."""
    came = records(env, broker, Reading(NAME, READS, shards=job.shards))
    flushed = flush_by_shard(came, NAME, partial(writing, catalog), job.batch_records, job.batch_s)
    send(flushed, broker, NAME)


@contextmanager
def writing(settings: CatalogSettings) -> Iterator[FlushFunction]:
    """Return a flush over a connection of its own."""
    with PostgresCatalog(settings) as catalog:
        yield partial(flush, catalog)


JOB = Job(name=NAME, mode="process", reads=READS, settings=(BrokerSettings, CatalogSettings, JobSettings), build=build)
