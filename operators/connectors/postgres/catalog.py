"""Writing the catalog in PostgreSQL as the role writer: reading the rows that a batch changes, and guarded upserts."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, LiteralString, Self, TypeVar
from uuid import UUID

import orjson
import psycopg
from psycopg import Connection, errors, sql
from psycopg.types.json import Json, set_json_dumps, set_json_loads

from operators.catalog.ports import Announcements, KnownRows, SeriesTotals, StudyState
from operators.catalog.progress import COUNTED_TOPICS, ShardProgress, TopicIds
from operators.catalog.rows import (
    CommandRow,
    ConflictRow,
    Content,
    DecisionRow,
    DueRow,
    InstanceKey,
    InstanceRow,
    PolicyRow,
    QuarantineRow,
    RevisionRow,
    SeriesKey,
    SeriesRow,
    StudyKey,
    StudyRow,
    TopicPartition,
    TransferRow,
    WaitingDueRow,
)
from operators.connectors.postgres.connecting import BLAMES_MOMENT, BLAMES_PREPARATION, connect, unavailable
from operators.connectors.postgres.selecting import LAST_REVISION
from operators.errors import Rejected
from schemas.events import StudyDue
from schemas.settings.servers import CatalogSettings

T = TypeVar("T")
Query = bytes | LiteralString

# The name of the writer's connections.
WRITER = "fluoro-catalog"
# The first key of the advisory lock on a shard; the second key is the shard's number.
LOCKS = 0x666C756F
# The key of the advisory lock on the sequence of versions, while it is raised.
VERSIONS_LOCK = LOCKS + 1

# The writer finds rows by key alone, but the statistics of tables that were empty a short time ago lead to other plans.
# A plan that is kept serves as well, and planning for 16 partitions each time was half of a count (DECISIONS 61).
# A client that vanished or hangs in a transaction must not hold a shard for long.
OPTIONS = (
    "-c timezone=UTC -c jit=off -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
    " -c plan_cache_mode=force_generic_plan"
    " -c statement_timeout={ms} -c idle_in_transaction_session_timeout={ms}"
)
ALIVE: dict[str, Any] = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

# Errors that the same data always causes; ProgramLimitExceeded (class 54) is an entry too large for its index.
BLAMES_DATA = (psycopg.DataError, psycopg.IntegrityError, errors.ProgramLimitExceeded, UnicodeEncodeError)

REFUSED = "refused-by-the-database"

set_json_dumps(orjson.dumps)
set_json_loads(orjson.loads)


class PostgresCatalog:
    """A Catalog over one connection, opened when needed and reopened after a loss; threads must not share it.

    A database that is replaced by an earlier state of itself breaks the connection. So each new connection raises the
    versions above the present time in microseconds, and so above those that were given before and are lost.
    """

    def __init__(self, settings: CatalogSettings, shards: int = 1) -> None:
        self._settings = settings
        self._shards = shards
        self._connection: Connection[tuple[Any, ...]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    @contextmanager
    def transaction(self, shard: int) -> Iterator["PostgresTables"]:
        """Open a transaction that locks the shard until the end of the block."""
        try:
            with rejecting_data():
                connection = self._connected()
                with connection.transaction():
                    yield _held(connection, (self._shards, shard))
        except (*BLAMES_MOMENT, *BLAMES_PREPARATION) as error:
            raise unavailable(self._settings, error) from error

    def _connected(self) -> Connection[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed:
            connection = self._new_connection()
            try:
                _raise_versions(connection, 0)
            except BaseException:
                # Kept, it would be used without: a standby refuses this, and its promotion breaks no connection.
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _new_connection(self) -> Connection[tuple[Any, ...]]:
        return connect(self._settings, WRITER, OPTIONS, autocommit=True, **ALIVE)


class PostgresTables:
    """CatalogTables in PostgreSQL, for a shard (number of shards, shard) that the transaction has locked."""

    def __init__(
        self, connection: Connection[tuple[Any, ...]], shard: tuple[int, int], progress: ShardProgress
    ) -> None:
        self._connection = connection
        self._shard = shard
        self._progress = progress

    def progress(self) -> ShardProgress:
        """Return the shard's progress as it was when the shard was locked."""
        return self._progress

    def raise_versions(self, above: int) -> None:
        """Keep every later version above `above`."""
        _raise_versions(self._connection, above)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Open a block whose writes are undone when an exception leaves it."""
        with rejecting_data(), self._connection.transaction():
            yield

    def known(self, keys: Collection[InstanceKey], studies: Collection[StudyKey] = ()) -> KnownRows:
        """Return the contents under these keys, and their studies and others with all series, in one round trip."""
        of_studies = _columns({*(key[:2] for key in keys), *studies}, 2)
        instances = _columns(keys, 3)
        with self._connection.pipeline():
            version = self._connection.execute(NEXT_VERSION)
            study = self._connection.execute(STUDIES, of_studies)
            series = self._connection.execute(SERIES, of_studies)
            shown = self._connection.execute(SHOWN, instances)
            lost = self._connection.execute(LOST, instances)
            decisions = self._connection.execute(DECISIONS, (*of_studies, ["", *instances[2]]))
            return KnownRows(
                version=_number(version),
                studies={StudyKey(row.tenant, row.study_uid): row for row in _rows(StudyRow, study)},
                series={SeriesKey(row.tenant, row.study_uid, row.series_uid): row for row in _rows(SeriesRow, series)},
                shown={_key(row): row for row in _rows(Content, shown)},
                lost=_lost(_rows(ConflictRow, lost)),
                decisions=tuple(_rows(DecisionRow, decisions)),
            )

    def put_instances(
        self, shown: Collection[InstanceRow], lost: Collection[ConflictRow], cleared: Collection[tuple[str, ...]]
    ) -> None:
        """Write instances and conflicts."""
        with self._connection.pipeline():
            self._put_together(PUT_INSTANCES, shown)
            self._put_together(PUT_CONFLICTS, lost)
            if cleared:
                self._connection.cursor().executemany(CLEAR_CONFLICT, cleared)

    def show_instances(self, shown: Collection[StudyKey], hidden: Collection[StudyKey]) -> None:
        """Show the instances of some studies, and hide those of others."""
        with self._connection.pipeline():
            for is_shown, studies in ((True, shown), (False, hidden)):
                if studies:
                    self._connection.execute(SHOW_INSTANCES, (is_shown, *_columns(studies, 2), is_shown))

    def put_commands(
        self, rows: Collection[CommandRow], decisions: Collection[DecisionRow]
    ) -> frozenset[tuple[StudyKey, UUID]]:
        """Write commands and decisions; return the commands that were not there before."""
        with self._connection.pipeline():
            new = self._connection.execute(PUT_COMMANDS, [_json(rows)])
            self._put(PUT_DECISION, decisions)
            return frozenset((StudyKey(*study), command_id) for *study, command_id in new)

    def announce_again(self, study: StudyKey, command: UUID) -> None:
        """Put a new version on the study's last revision, with the command that asks for it."""
        self._connection.execute(ANNOUNCE_AGAIN, (command, *study, *study))

    def put_transfers(self, rows: Collection[TransferRow]) -> None:
        """Write the ends of transfers."""
        self._put(PUT_TRANSFER, rows)

    def put_quarantine(self, rows: Collection[QuarantineRow]) -> None:
        """Write quarantined contents."""
        self._put(PUT_QUARANTINE, rows)

    def put_policies(self, rows: Collection[PolicyRow]) -> None:
        """Write versions of policies."""
        newest = {(row.tenant, row.kind, row.name): row for row in sorted(rows, key=lambda row: row.version)}
        self._put_together(PUT_POLICIES, newest.values())

    def series_totals(self, keys: Collection[SeriesKey]) -> dict[SeriesKey, SeriesTotals]:
        """Return the totals of these series."""
        if not keys:
            return {}
        counted = {
            SeriesKey(*row[:3]): SeriesTotals(row[3], row[4], tuple(sorted(row[5])))
            for row in self._connection.execute(SERIES_TOTALS, _columns(keys, 3))
        }
        return {key: counted.get(key, SeriesTotals()) for key in keys}

    def put_studies(self, studies: Collection[StudyRow], series: Collection[SeriesRow]) -> None:
        """Write studies and series."""
        with self._connection.pipeline():
            self._put_together(PUT_STUDIES, studies)
            self._put_together(PUT_SERIES, series)

    def state(self, study: StudyKey, due: UUID) -> StudyState:
        """Return the present state of a study that is due, in one round trip."""
        with self._connection.pipeline():
            version = self._connection.execute(NEXT_VERSION)
            row = self._connection.execute(STUDIES, _columns([study], 2))
            series = self._connection.execute(SERIES, _columns([study], 2))
            instances = self._connection.execute(INSTANCES_OF_STUDY, study)
            last = self._connection.execute(LAST_REVISION, study)
            made = self._connection.execute(MADE_REVISIONS, (*study, due))
            return StudyState(
                version=_number(version),
                study=next(_rows(StudyRow, row), None),
                series=tuple(_rows(SeriesRow, series)),
                rows=tuple((series_uid, sop_uid, data_hash) for series_uid, sop_uid, data_hash in instances),
                last=next(_rows(RevisionRow, last), None),
                made=tuple(_rows(RevisionRow, made)),
            )

    def put_revision(self, row: RevisionRow) -> None:
        """Add a revision."""
        self._put(PUT_REVISION, [row])

    def note_went_back(self, sent: Mapping[TopicPartition, int], announced: int | None) -> None:
        """Note that the shard's rows are behind what was committed, and lower its progress to what was sent."""
        lower = [
            (sent.get(place, -1), *self._shard, *place)
            for place, offset in self._progress.applied.items()
            if sent.get(place, -1) < offset
        ]
        self._put_all(LOWER_APPLIED, lower)
        self._connection.execute(PUT_WENT_BACK, (*self._shard, announced))

    def settled_before(self, dues: Collection[StudyDue]) -> frozenset[str]:
        """Return the event ids of those of the dues that have a row."""
        if not dues:
            return frozenset()
        keys = [(due.tenant, due.study_uid, due.event_id) for due in dues]
        return frozenset(str(found) for (found,) in self._connection.execute(SETTLED_DUES, _columns(keys, 3)))

    def advance(
        self, applied: Mapping[TopicPartition, int], waiting: Collection[WaitingDueRow], topic_ids: TopicIds
    ) -> tuple[WaitingDueRow, ...]:
        """Write the progress and return the dues whose wait is over, in one round trip."""
        higher = [(*place, at) for place, at in applied.items() if at > self._applied(place)]
        with self._connection.pipeline():
            if higher:
                self._connection.execute(PUT_APPLIED, (*self._shard, *map(list, zip(*higher, strict=True))))
            self.put_waiting(waiting)
            ready = self._connection.execute(READY, _reached(self._shard, applied, topic_ids))
            return tuple(_rows(WaitingDueRow, ready))

    def put_waiting(self, rows: Collection[WaitingDueRow]) -> None:
        """Write dues that wait."""
        if rows:
            once = {row.event_id: row for row in reversed([*rows])}.values()
            columns = zip(*(row.__dict__.values() for row in once), strict=True)
            self._connection.execute(PUT_WAITING, (*self._shard, *map(list, columns)))

    def announce(
        self, studies: Collection[StudyKey], settled: Collection[DueRow], above: int, most: int
    ) -> Announcements:
        """Keep settled dues, which no longer wait, and note the returned revisions as announced, in one round trip."""
        shards, shard = self._shard
        with self._connection.pipeline():
            if settled:
                self._connection.execute(REMOVE_WAITING, (shards, shard, [due.event_id for due in settled]))
            self._put_together(PUT_DUES, settled)
            versions = self._connection.execute(VERSIONS, _columns(studies, 2))
            revisions = self._connection.execute(REVISIONS, (shard, above, most))
            self._connection.execute(PUT_ANNOUNCED, (shards, shard, above, shard, above, most))
            found = {row[:2]: row[2] for row in versions}
            return Announcements(
                {study: found[study] for study in studies if study in found}, tuple(_rows(RevisionRow, revisions))
            )

    def _applied(self, place: TopicPartition) -> int:
        return self._progress.applied.get(place, -1)

    def _put(self, statement: bytes, rows: Collection[Any]) -> None:
        self._put_all(statement, [_values(row) for row in rows])

    def _put_together(self, statement: bytes, rows: Collection[Any]) -> None:
        """Write rows of different keys by one statement: each one costs a system call at both ends."""
        if rows:
            self._connection.execute(statement, [_json(rows)])

    def _put_all(self, statement: Query, rows: Collection[Sequence[Any]]) -> None:
        if rows:
            self._connection.cursor().executemany(statement, rows)


@contextmanager
def rejecting_data() -> Iterator[None]:
    """Raise a database's error as Rejected if the data caused it; other errors pass unchanged."""
    try:
        yield
    except BLAMES_DATA:
        # Without its cause: the database's message may quote the row, and so patient data.
        raise Rejected(REFUSED) from None


def _held(connection: Connection[tuple[Any, ...]], shard: tuple[int, int]) -> PostgresTables:
    """Lock a shard and read its progress, in one round trip: each statement sees what was committed before it began."""
    with connection.pipeline():
        connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (LOCKS, shard[1]))
        applied = connection.execute(APPLIED, shard)
        announced = connection.execute(ANNOUNCED, shard)
        offsets = {TopicPartition(topic, topic_id, partition): at for topic, topic_id, partition, at in applied}
        return PostgresTables(connection, shard, ShardProgress(offsets, sum(row[0] for row in announced)))


def _raise_versions(connection: Connection[tuple[Any, ...]], above: int) -> None:
    """Raise the sequence of versions above this version and above the present time; it is never lowered.

    A sequence does not take part in transactions. The lock keeps others from raising it at the same time, and the jump
    is longer than any number of versions that others can be given meanwhile.
    """
    with connection.transaction(), connection.pipeline():
        connection.execute("SELECT pg_advisory_xact_lock(%s, 0)", (VERSIONS_LOCK,))
        connection.execute(RAISE_VERSIONS, (above,))


def _reached(shard: tuple[int, int], applied: Mapping[TopicPartition, int], topic_ids: TopicIds) -> dict[str, Any]:
    """Return the parameters of READY: the applied positions for which a due may wait, and the ids of their topics."""
    ids = {topic: topic_ids.get(topic, "") for topic in COUNTED_TOPICS}
    reached = [(place, at) for place, at in applied.items() if ids.get(place.topic) == place.topic_id]
    low, high = sorted(ids.values())
    return {
        "shards": shard[0],
        "shard": shard[1],
        "topics": [place.topic for place, _ in reached],
        "topic_ids": [place.topic_id for place, _ in reached],
        "partitions": [place.partition for place, _ in reached],
        "offsets": [at for _, at in reached],
        "low": low,
        "high": high,
    }


def _columns(keys: Collection[tuple[str, ...]], width: int) -> list[list[str]]:
    ordered = sorted(keys)
    return [[key[index] for key in ordered] for index in range(width)]


def _number(cursor: psycopg.Cursor[tuple[Any, ...]]) -> int:
    row = cursor.fetchone()
    assert row is not None  # noqa: S101  nextval returns one row
    return int(row[0])


def _rows(kind: type[T], cursor: psycopg.Cursor[tuple[Any, ...]]) -> Iterator[T]:
    names = tuple(each.name for each in fields(kind))  # type: ignore[arg-type]
    for row in cursor:
        values = (tuple(value) if isinstance(value, list) else value for value in row)
        yield kind(**dict(zip(names, values, strict=True)))


def _values(row: Any) -> list[Any]:
    return [_value(value) for value in row.__dict__.values()]


def _value(value: Any) -> Any:
    if isinstance(value, tuple):
        return Json(value) if value and isinstance(value[0], dict) else list(value)
    return Json(value) if isinstance(value, dict) else value


def _json(rows: Collection[Any]) -> str:
    """Return rows as PostgreSQL reads them from JSON. Raises Rejected for a number or text that JSON cannot have."""
    try:
        return orjson.dumps([row.__dict__ for row in rows], default=_bytea).decode()
    except orjson.JSONEncodeError:
        raise Rejected(REFUSED) from None


def _bytea(value: bytes) -> str:
    return f"\\x{value.hex()}"


def _key(row: Content) -> InstanceKey:
    return InstanceKey(row.tenant, row.study_uid, row.sop_uid)


def _lost(rows: Iterator[ConflictRow]) -> dict[InstanceKey, tuple[ConflictRow, ...]]:
    lost: dict[InstanceKey, tuple[ConflictRow, ...]] = {}
    for row in rows:
        lost[_key(row)] = (*lost.get(_key(row), ()), row)
    return lost


def _names(kind: type[Any]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(each.name) for each in fields(kind))


# Statements are bytes: a Composed is put together again at each execution, which was 10 % of a flush.
def _select(kind: type[Any], rest: str) -> bytes:
    return (sql.SQL("SELECT {} FROM ").format(_names(kind)) + sql.SQL(rest)).as_bytes()


def _upsert(kind: type[Any], table: str, key: str, guard: str) -> bytes:
    """Return an INSERT that replaces the row under the same key if the guard is true; there `old` is that row."""
    return _upsert_from(sql.SQL("VALUES ({})").format(_placeholders(kind)), kind, table, key, guard)


def _upsert_together(kind: type[Any], table: str, key: str, guard: str) -> bytes:
    """Return such an INSERT of many rows, each of another key, whose one parameter is what _json() returns."""
    rows = sql.SQL("SELECT {} FROM json_populate_recordset(NULL::{}, %s::json)")
    return _upsert_from(rows.format(_names(kind), sql.Identifier(table)), kind, table, key, guard)


def _insert_together(kind: type[Any], table: str, rest: LiteralString) -> bytes:
    """Return an INSERT of many rows, each of another key; `rest` says what becomes of a row under the same key."""
    rows = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM json_populate_recordset(NULL::{}, %s::json)")
    statement = rows.format(sql.Identifier(table), _names(kind), _names(kind), sql.Identifier(table))
    return (statement + sql.SQL(" ") + sql.SQL(rest)).as_bytes()


def _upsert_from(rows: sql.Composed, kind: type[Any], table: str, key: str, guard: str) -> bytes:
    names = [each.name for each in fields(kind)]
    rest = [sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in names if name not in key.split(", ")]
    statement = sql.SQL("INSERT INTO {} AS old ({}) {} ON CONFLICT ({}) DO UPDATE SET {} WHERE {}").format(
        sql.Identifier(table), _names(kind), rows, sql.SQL(key), sql.SQL(", ").join(rest), sql.SQL(guard)
    )
    return statement.as_bytes()


def _placeholders(kind: type[Any]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Placeholder() * len(fields(kind)))


# The guards keep a delayed attempt from overwriting what a later attempt has written. Text is compared bytewise, as in
# the operators, whatever the database's locale.
FIRST = """old.version < excluded.version
    AND (excluded.first_stored_at, excluded.first_sop_uid COLLATE "C", excluded.first_data_hash COLLATE "C")
     <= (old.first_stored_at, old.first_sop_uid COLLATE "C", old.first_data_hash COLLATE "C")"""
PUT_STUDIES = _upsert_together(StudyRow, "study", "tenant, study_uid", FIRST)
PUT_SERIES = _upsert_together(SeriesRow, "series", "tenant, study_uid, series_uid", FIRST)
# Of one content: its order may only fall, and its placement only rise (operators/catalog/contents.py).
SAME_CONTENT = """(excluded.stored_at, excluded.transfer_id COLLATE "C") <= (old.stored_at, old.transfer_id COLLATE "C")
    AND (excluded.last_stored_at, excluded.prefix_hash COLLATE "C", excluded.size_bytes)
     >= (old.last_stored_at, old.prefix_hash COLLATE "C", old.size_bytes)"""
# Of two contents the chosen one, else the first.
CHOSEN = """SELECT data_hash = excluded.data_hash FROM decision
    WHERE tenant = excluded.tenant AND study_uid = excluded.study_uid AND sop_uid = excluded.sop_uid AND subject = 'choice'
    ORDER BY occurred_at DESC, command_id DESC LIMIT 1"""
PUT_INSTANCES = _upsert_together(
    InstanceRow,
    "instance",
    "tenant, study_uid, sop_uid",
    f"""old.version < excluded.version AND CASE WHEN excluded.data_hash = old.data_hash THEN {SAME_CONTENT}
    ELSE coalesce(({CHOSEN}),
        (excluded.stored_at, excluded.data_hash COLLATE "C") < (old.stored_at, old.data_hash COLLATE "C")) END""",
)
PUT_CONFLICTS = _upsert_together(ConflictRow, "conflict", "tenant, study_uid, sop_uid, data_hash", SAME_CONTENT)
PUT_TRANSFER = _upsert(
    TransferRow,
    "transfer",
    "tenant, transfer_id, study_uid",
    "(excluded.ended_at, excluded.event_id) > (old.ended_at, old.event_id)",
)
PUT_QUARANTINE = _upsert(
    QuarantineRow,
    "quarantine",
    "tenant, data_hash",
    "(excluded.stored_at, excluded.occurred_at, excluded.event_id) > (old.stored_at, old.occurred_at, old.event_id)",
)
PUT_POLICIES = _upsert_together(PolicyRow, "policy", "tenant, kind, name", "excluded.version > old.version")
SHOW_INSTANCES = """UPDATE instance SET is_shown = %s FROM unnest(%s::text[], %s::text[]) AS wanted (tenant, study_uid)
    WHERE instance.tenant = wanted.tenant AND instance.study_uid = wanted.study_uid AND is_shown <> %s"""
PUT_COMMANDS = _insert_together(CommandRow, "command", "ON CONFLICT DO NOTHING RETURNING tenant, study_uid, command_id")
PUT_DECISION = _upsert(
    DecisionRow,
    "decision",
    "tenant, study_uid, sop_uid, subject, data_hash",
    "(excluded.occurred_at, excluded.command_id) > (old.occurred_at, old.command_id)",
)
# A due that comes again may make its revision only then.
PUT_DUES = _insert_together(
    DueRow,
    "due",
    """ON CONFLICT (tenant, study_uid, event_id) DO UPDATE SET revision = excluded.revision
    WHERE due.revision IS NULL AND excluded.revision IS NOT NULL""",
)
SETTLED_DUES = """SELECT event_id FROM due JOIN unnest(%s::text[], %s::text[], %s::uuid[])
    AS wanted (tenant, study_uid, event_id) USING (tenant, study_uid, event_id)"""
PUT_REVISION = (
    sql.SQL("INSERT INTO revision ({}) VALUES ({})").format(_names(RevisionRow), _placeholders(RevisionRow)).as_bytes()
)
CLEAR_CONFLICT = "DELETE FROM conflict WHERE tenant = %s AND study_uid = %s AND sop_uid = %s AND data_hash = %s"

NEXT_VERSION = "SELECT nextval('version_seq')"
OF_STUDIES = "JOIN unnest(%s::text[], %s::text[]) AS wanted (tenant, study_uid) USING (tenant, study_uid)"
OF_INSTANCES = """JOIN unnest(%s::text[], %s::text[], %s::text[]) AS wanted (tenant, study_uid, sop_uid)
    USING (tenant, study_uid, sop_uid)"""
STUDIES = _select(StudyRow, f"study {OF_STUDIES}")
SERIES = _select(SeriesRow, f"series {OF_STUDIES}")
SHOWN = _select(Content, f"instance {OF_INSTANCES}")
LOST = _select(ConflictRow, f"conflict {OF_INSTANCES}")
# Of these studies, and for instances with these SOP UIDs; nothing for nearly every batch.
DECISIONS = _select(DecisionRow, f"decision {OF_STUDIES} WHERE sop_uid = ANY(%s::text[]) AND subject <> 'hold'")
VERSIONS = (sql.SQL("SELECT tenant, study_uid, version FROM study ") + sql.SQL(OF_STUDIES)).as_bytes()
SERIES_TOTALS = """
    SELECT tenant, study_uid, series_uid, count(*), sum(size_bytes)::bigint, array_agg(DISTINCT sop_class)
    FROM instance JOIN unnest(%s::text[], %s::text[], %s::text[]) AS wanted (tenant, study_uid, series_uid)
    USING (tenant, study_uid, series_uid) GROUP BY tenant, study_uid, series_uid"""
INSTANCES_OF_STUDY = "SELECT series_uid, sop_uid, data_hash FROM instance WHERE tenant = %s AND study_uid = %s"
ANNOUNCE_AGAIN = """UPDATE revision SET version = nextval('version_seq'), again = %s
    WHERE tenant = %s AND study_uid = %s
      AND revision = (SELECT max(revision) FROM revision WHERE tenant = %s AND study_uid = %s)"""
MADE_REVISIONS = _select(RevisionRow, "revision WHERE tenant = %s AND study_uid = %s AND due_event_id = %s")
REVISIONS = _select(RevisionRow, "revision WHERE shard = %s AND version > %s ORDER BY version LIMIT %s")

APPLIED = 'SELECT topic, topic_id, "partition", "offset" FROM applied_offset WHERE shards = %s AND shard = %s'
ANNOUNCED = "SELECT announced FROM shard_progress WHERE shards = %s AND shard = %s"
PUT_APPLIED = """INSERT INTO applied_offset AS old
    SELECT %s, %s, place.* FROM unnest(%s::text[], %s::text[], %s::integer[], %s::bigint[]) AS place
    ON CONFLICT (shards, shard, topic, topic_id, "partition")
    DO UPDATE SET "offset" = excluded."offset" WHERE excluded."offset" > old."offset"
"""
PUT_WAITING = """INSERT INTO waiting_due AS old
    SELECT %s, %s, due.* FROM unnest(%s::uuid[], %s::text[], %s::integer[], %s::bigint[], %s::bytea[], %s::text[]) AS due
    ON CONFLICT (shards, shard, event_id) DO UPDATE SET topic = excluded.topic, topic_id = excluded.topic_id,
        "partition" = excluded."partition", "offset" = excluded."offset" WHERE old.topic <> excluded.topic"""
REMOVE_WAITING = "DELETE FROM waiting_due WHERE shards = %s AND shard = %s AND event_id = ANY(%s)"
# For each partition a search in the index, whatever the number of rows: OFFSET 0 keeps the planner from another order.
READY = """
    SELECT due.*
    FROM unnest(%(topics)s::text[], %(topic_ids)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[])
        AS reached (topic, topic_id, "partition", "offset")
    CROSS JOIN LATERAL (
        SELECT event_id, topic_id, "partition", "offset", event, topic FROM waiting_due AS one
        WHERE shards = %(shards)s AND shard = %(shard)s AND one.topic_id = reached.topic_id AND one.topic = reached.topic
          AND one."partition" = reached."partition" AND one."offset" <= reached."offset" OFFSET 0) AS due
    UNION ALL
    SELECT event_id, topic_id, "partition", "offset", event, topic FROM waiting_due
    WHERE shards = %(shards)s AND shard = %(shard)s AND topic_id < %(low)s
    UNION ALL
    SELECT event_id, topic_id, "partition", "offset", event, topic FROM waiting_due
    WHERE shards = %(shards)s AND shard = %(shard)s AND topic_id > %(low)s AND topic_id < %(high)s
    UNION ALL
    SELECT event_id, topic_id, "partition", "offset", event, topic FROM waiting_due
    WHERE shards = %(shards)s AND shard = %(shard)s AND topic_id > %(high)s"""
PUT_ANNOUNCED = """INSERT INTO shard_progress AS old (shards, shard, announced)
    SELECT %s, %s, greatest(%s, max(version)) FROM (
        SELECT version FROM revision WHERE shard = %s AND version > %s ORDER BY version LIMIT %s) AS next
    ON CONFLICT (shards, shard) DO UPDATE SET announced = excluded.announced WHERE excluded.announced > old.announced"""
LOWER_APPLIED = """UPDATE applied_offset SET "offset" = %s
    WHERE shards = %s AND shard = %s AND topic = %s AND topic_id = %s AND "partition" = %s"""
PUT_WENT_BACK = """INSERT INTO shard_progress AS old (shards, shard, went_back) VALUES (%s, %s, true)
    ON CONFLICT (shards, shard) DO UPDATE SET went_back = true, announced = least(old.announced, %s::bigint)"""
RAISE_VERSIONS = """
    SELECT setval('version_seq', base + 1000000)
    FROM greatest(%s::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS base, version_seq
    WHERE base >= last_value"""
