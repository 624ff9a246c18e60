"""The catalog job: it writes the events of its topics into PostgreSQL, and publishes events of the changes there."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import structlog
from pyflink.datastream import StreamExecutionEnvironment

from operators.catalog.flush import flush
from operators.connectors.postgres.catalog import PostgresCatalog
from operators.deidentify.study_facts import with_study_facts
from operators.stream.origin import Origin
from operators.stream.step import FlushFunction
from pipelines.engines.batches import flush_by_shard
from pipelines.engines.kafka import Reading, batches, send
from pipelines.jobs import CATALOG
from pipelines.streaming.failpoints import with_failpoints
from schemas.settings.jobs import FactsSettings, JobSettings
from schemas.settings.servers import BrokerSettings, CatalogSettings

# The most that a fetch waits for more: for so long an instance that comes alone may not be found.
FETCH_S = 0.1

log = structlog.get_logger()


def build(  # noqa: PLR0913, PLR0917 - the launcher gives each section of settings
    env: StreamExecutionEnvironment,
    origin: Origin,
    broker: BrokerSettings,
    catalog: CatalogSettings,
    job: JobSettings,
    facts: FactsSettings,
) -> None:
    """Build the job's graph in an environment."""
    if not facts.key:
        log.info("study_facts_off", reason="FLUORO_FACTS_KEY is not set")
    arriving = batches(env, broker, Reading(CATALOG.name, CATALOG.reads, FETCH_S, origin, shards=job.shards), job)
    factory = partial(catalog_flush, catalog, facts, job, origin)
    send(flush_by_shard(arriving, CATALOG.name, factory, job), broker, CATALOG.name)


@contextmanager
def catalog_flush(
    settings: CatalogSettings, facts: FactsSettings, job: JobSettings, origin: Origin
) -> Iterator[FlushFunction]:
    """Yield a flush with its own connection, which is closed at the end."""
    with PostgresCatalog(settings, job.shards) as catalog:
        flush_shard: FlushFunction = partial(flush, catalog, origin=origin)
        if job.failpoint_file:
            flush_shard = with_failpoints(catalog, origin, job.failpoint_file)
        yield with_study_facts(flush_shard, facts.key.encode()) if facts.key else flush_shard
