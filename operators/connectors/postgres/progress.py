"""The progress of the catalog job in PostgreSQL, for whoever starts and watches the job; as the role writer."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from psycopg import Connection

from operators.catalog.progress import COUNTED_TOPICS, NO_TOPIC
from operators.catalog.rows import AppliedOffsetRow, TopicPartition
from operators.connectors.postgres import resharding
from operators.connectors.postgres.catalog import WRITER
from operators.connectors.postgres.connecting import connected
from schemas.settings.servers import CatalogSettings

OPTIONS = "-c timezone=UTC -c jit=off -c statement_timeout={ms}"


class PostgresProgress:
    """A CatalogProgress that opens a connection for each question, because questions are rare."""

    def __init__(self, settings: CatalogSettings) -> None:
        self._settings = settings

    def applied(self) -> tuple[AppliedOffsetRow, ...]:
        """Return all applied offsets."""
        with self._connected() as connection:
            return tuple(AppliedOffsetRow(*row) for row in connection.execute(APPLIED))

    def announced(self, shards: int) -> dict[int, int]:
        """Return the version of the last announced revision by shard."""
        with self._connected() as connection:
            return dict(connection.execute(ANNOUNCED, (shards,)).fetchall())

    def waiting(self, shards: int, before: Mapping[TopicPartition, int]) -> int:
        """Return how many dues wait for an offset below those of `before`."""
        places = [(place, offset) for place, offset in before.items() if place.topic in COUNTED_TOPICS]
        asked = (
            [place.topic for place, _ in places],
            [place.topic_id for place, _ in places],
            [place.partition for place, _ in places],
            [offset for _, offset in places],
            shards,
        )
        with self._connected() as connection:
            return sum(row[0] for row in connection.execute(WAITING, asked))

    def went_back(self, shards: int) -> frozenset[int]:
        """Return the shards whose rows were found behind what was committed."""
        with self._connected() as connection:
            return frozenset(row[0] for row in connection.execute(WENT_BACK, (shards,)))

    def note_begun(self, shards: int) -> None:
        """Note that a job has begun at the rows' offsets."""
        with self._connected() as connection:
            connection.execute("UPDATE shard_progress SET went_back = false WHERE shards = %s AND went_back", (shards,))

    def writers(self) -> int:
        """Return how many connections of the catalog job are open."""
        with self._connected() as connection:
            return sum(row[0] for row in connection.execute(WRITERS, (WRITER,)))

    def reshard(self, shards: int, offsets: Mapping[TopicPartition, int]) -> None:
        """Move all progress to the shards of another number of them, in one transaction that holds every shard."""
        with self._connected() as connection:
            resharding.reshard(connection, shards, offsets)

    def forget(self) -> None:
        """Remove all applied offsets, make every waiting due ready, and count no revision as announced."""
        with self._connected() as connection:
            connection.execute("DELETE FROM applied_offset")
            connection.execute("UPDATE waiting_due SET topic_id = %s", (NO_TOPIC,))
            connection.execute("UPDATE shard_progress SET announced = 0")

    def _connected(self) -> AbstractContextManager[Connection[tuple[Any, ...]]]:
        return connected(self._settings, "fluoro-jobs", OPTIONS)


APPLIED = 'SELECT shards, shard, topic, topic_id, "partition", "offset" FROM applied_offset'
WRITERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
WENT_BACK = "SELECT shard FROM shard_progress WHERE shards = %s AND went_back"
ANNOUNCED = "SELECT shard, announced FROM shard_progress WHERE shards = %s"
WAITING = """
    SELECT count(*) FROM waiting_due
    JOIN unnest(%s::text[], %s::text[], %s::integer[], %s::bigint[]) AS first (topic, topic_id, "partition", "offset")
    USING (topic, topic_id, "partition") WHERE first."offset" > waiting_due."offset" AND shards = %s
"""
