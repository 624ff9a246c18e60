"""The progress of the catalog job in PostgreSQL, given to the shards of another number of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from psycopg import Connection

from operators.catalog.progress import due_shard, shard_of
from operators.catalog.rows import TopicPartition, WaitingDueRow
from operators.connectors.postgres.catalog import LOCKS
from schemas.topics import study_key

# The studies whose revisions are changed by one statement.
STUDIES = 10_000


def reshard(connection: Connection[tuple[Any, ...]], shards: int, offsets: Mapping[TopicPartition, int]) -> None:
    """Move all progress to these shards; the transaction of the connection holds every shard until it ends."""
    connection.execute(HOLD_ALL, (LOCKS,))
    waiting = [WaitingDueRow(*row) for row in connection.execute(WAITING)]
    connection.execute("DELETE FROM waiting_due")
    connection.execute("DELETE FROM applied_offset")
    connection.execute("DELETE FROM shard_progress")
    cursor, every = connection.cursor(), range(shards)
    applied = [(shards, shard, *place, offset) for shard in every for place, offset in offsets.items()]
    cursor.executemany("INSERT INTO applied_offset VALUES (%s, %s, %s, %s, %s, %s)", applied)
    dues = [(shards, due_shard(row, shards), *row.__dict__.values()) for row in waiting]
    cursor.executemany("INSERT INTO waiting_due VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", dues)
    progress = [(shards, shard) for shard in every]
    cursor.executemany("INSERT INTO shard_progress (shards, shard, went_back) VALUES (%s, %s, true)", progress)
    for studies in _settled_studies(connection):
        tenants, uids = zip(*studies, strict=True)
        numbers = [shard_of(study_key(*study), shards) for study in studies]
        connection.execute(MOVE_REVISIONS, (list(tenants), list(uids), numbers))


def _settled_studies(connection: Connection[tuple[Any, ...]]) -> Iterator[Sequence[tuple[str, str]]]:
    """Yield the (tenant, study UID) of every study with a revision, some at a time."""
    last = ("", "")
    while found := connection.execute(SETTLED, (*last, STUDIES)).fetchall():
        yield [(tenant, study_uid) for tenant, study_uid in found]
        last = found[-1]


HOLD_ALL = "SELECT pg_advisory_xact_lock(%s, shard) FROM generate_series(0, 127) AS shard"
# A due that waits under several numbers of shards waits once.
WAITING = """SELECT DISTINCT ON (event_id) event_id, topic_id, "partition", "offset", event, topic FROM waiting_due
    ORDER BY event_id"""
SETTLED = """SELECT DISTINCT tenant, study_uid FROM revision WHERE (tenant, study_uid) > (%s, %s)
    ORDER BY tenant, study_uid LIMIT %s"""
MOVE_REVISIONS = """UPDATE revision SET shard = new.shard
    FROM unnest(%s::text[], %s::text[], %s::integer[]) AS new (tenant, study_uid, shard)
    WHERE revision.tenant = new.tenant AND revision.study_uid = new.study_uid AND revision.shard <> new.shard"""
