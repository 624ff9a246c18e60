"""Reading the catalog in PostgreSQL as the role reader.

Every value is a bound parameter, and every name in a statement comes from the tables in this file.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, LiteralString, NamedTuple, Self, TypeVar, cast

from psycopg import AsyncConnection, Error, OperationalError, sql
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from operators.catalog.contents import CHOSEN_AT, Precedence
from operators.catalog.ports import (
    SHORT_FRAMES_BYTES,
    HistoryRows,
    Hit,
    InstanceResult,
    Location,
    Page,
    SeriesResult,
    StudyResult,
)
from operators.catalog.query import BY_PATH, Match, Query, like_pattern
from operators.catalog.rows import DamageRow, PolicyRow, RevisionRow
from operators.connectors.postgres.connecting import CONNECT_S, SET_TENANT, parameters, pool_name, unavailable
from operators.connectors.postgres.history import read_history
from operators.connectors.postgres.selecting import LAST_REVISION, columns_of, row_of
from operators.dicom.attributes import LEVELS, Attribute, Level
from operators.store.policies import rules_of
from schemas.settings.servers import CatalogSettings

Row = tuple[Any, ...]
T = TypeVar("T")

# Every statement is planned for its values, because one pattern needs the trigram index and another the index of dates.
# JIT compilation would take longer than any of these statements. Nothing here may write.
OPTIONS = (
    "-c plan_cache_mode=force_custom_plan -c jit=off -c default_transaction_read_only=on -c statement_timeout={ms}"
)

# The columns of each level's result, in the order of its fields.
COLUMNS: dict[Level, LiteralString] = {
    "study": "study.attributes::text, study.modalities, study.sop_classes, study.series, study.instances",
    "series": "series.attributes::text, series.instances",
    "instance": "instance.attributes::text, instance.transfer_syntax, instance.tier",
}
# Each level's result and the number of its columns. A result is a value that can be kept, so it has no list.
RESULTS: dict[Level, tuple[Callable[..., Any], int]] = {
    "study": (
        lambda attributes, modalities, sop_classes, series, instances: StudyResult(
            attributes, tuple(modalities), tuple(sop_classes), series, instances
        ),
        5,
    ),
    "series": (SeriesResult, 2),
    "instance": (InstanceResult, 3),
}
UIDS: dict[Level, LiteralString] = {
    "study": "study.study_uid, NULL, NULL",
    "series": "series.study_uid, series.series_uid, NULL",
    "instance": "instance.study_uid, instance.series_uid, instance.sop_uid",
}
# A column, and the way that it orders results.
Ordered = tuple[LiteralString, LiteralString]
ORDER: dict[Level, tuple[Ordered, ...]] = {
    "study": (("study.study_date", "DESC NULLS LAST"), ("study.study_uid", "ASC")),
    "series": (("series.series_number", "ASC"), ("series.series_uid", "ASC")),
    "instance": (("instance.instance_number", "ASC"), ("instance.sop_uid", "ASC")),
}
# Studies and series without a shown instance are known only from contents that lost a conflict, or are deleted: what is
# deleted counts no instance.
SHOWN: dict[Level, LiteralString] = {
    "study": "study.is_shown",
    "series": "series.instances > 0",
    "instance": "instance.is_shown",
}
# In the order of the joins: from the instance's series up to its study.
JOINS: dict[Level, LiteralString] = {
    "series": "JOIN series USING (tenant, study_uid, series_uid)",
    "study": "JOIN study USING (tenant, study_uid)",
}

# Series and instances of all studies, study by study in the order of results, as far as they are asked for: the rows come
# sorted by their studies, so that a page reads what it shows. OFFSET keeps the planner from joining everything first.
STUDIES_IN_ORDER: LiteralString = "(SELECT * FROM study WHERE {where} ORDER BY {order}) AS study"
BELOW: dict[Level, LiteralString] = {
    "series": """CROSS JOIN LATERAL (SELECT * FROM series AS one WHERE one.tenant = study.tenant
        AND one.study_uid = study.study_uid AND one.instances > 0 OFFSET 0) AS series""",
    "instance": """CROSS JOIN LATERAL (SELECT * FROM instance AS one WHERE one.tenant = series.tenant
        AND one.study_uid = series.study_uid AND one.series_uid = series.series_uid OFFSET 0) AS instance""",
}

# The SQL of a condition, by operator and form (see _form): ONE for columns with one value, SEVERAL for arrays.
ONE: dict[tuple[str, str], LiteralString] = {
    ("equals", ""): "{} = %s",
    ("among", ""): "{} = ANY(%s)",
    ("like", "one"): "{} LIKE %s",
    ("like", "many"): "{} LIKE ANY(%s)",
    ("between", "from"): "{} >= %s",
    ("between", "to"): "{} <= %s",
    ("between", "both"): "{} BETWEEN %s AND %s",
    ("empty", ""): "coalesce({}::text, '') = ''",
}
# The SQL of each of few patterns: one that may begin the text, and one of a later component group of a name (PS3.5
# 6.2.1.2). Few names have such a group, and those have an index of their own. ANY(...) would use no index of beginnings.
PATTERN: dict[str, LiteralString] = {"-": "{0} LIKE %s", "=": "({0} LIKE '%%=%%' AND {0} LIKE %s)"}
MOST_SPELLED_OUT = 4
SEVERAL_VALUES = ("codes", "texts", "uids")
SEVERAL: dict[tuple[str, str], LiteralString] = {
    ("equals", ""): "{} && ARRAY[%s]",
    ("among", ""): "{} && %s",
    ("like", "one"): "EXISTS (SELECT FROM unnest({}) AS one WHERE one LIKE %s)",
    ("like", "many"): "EXISTS (SELECT FROM unnest({}) AS one WHERE one LIKE ANY(%s))",
    ("empty", ""): "cardinality({}) = 0",
}

# A page of studies after others: what is skipped is read from the index of the order alone, and rows only for the page.
PAGE: LiteralString = "SELECT {columns} FROM {rows} ORDER BY {order} LIMIT %s OFFSET %s"
LATER_PAGE: LiteralString = """
    SELECT {columns} FROM (SELECT study.tenant, study.study_uid FROM {rows} ORDER BY {order} LIMIT %s OFFSET %s) AS page
    JOIN study USING (tenant, study_uid) ORDER BY {order}"""
# The first rows that meet the usual conditions, in the order of results, and if they meet the compared ones too. The
# values that order them have names, by which the planner knows that they come in the page's order: it stops at its end.
FIRST_ROWS: LiteralString = "SELECT {columns}, {is_found} AS is_found FROM {rows} ORDER BY {order} LIMIT %s"
COMPARED_PAGE: LiteralString = (
    "SELECT * FROM ({first}) AS first_rows WHERE is_found ORDER BY {order} LIMIT %s OFFSET %s"
)
COMPARED_REST: LiteralString = "({first}) AS first_rows WHERE is_found"
# The results after a page, counted no further than asked for.
COUNT: LiteralString = "SELECT count(*) FROM (SELECT FROM {} OFFSET %s LIMIT %s) AS rest"

LOCATION: LiteralString = """
    SELECT instance.study_uid, instance.series_uid, instance.sop_uid, instance.sop_class, instance.transfer_syntax,
           instance.object_key, instance.tier, instance.size_bytes, instance.data_hash, instance.prefix_length,
           instance.header_length, instance.prefix_hash"""
SHORT_FRAMES: LiteralString = (
    f"CASE WHEN octet_length(instance.frames) <= {SHORT_FRAMES_BYTES} THEN instance.frames ELSE '' END"
)
# The marks of a study are nearly always none: they are read once a statement, not once an instance.
IS_MARKED: LiteralString = (
    "instance.object_key IN (SELECT damage.object_key FROM damage WHERE damage.tenant = %s AND damage.study_uid = %s)"
)
LOCATE_STUDY: LiteralString = f"""{LOCATION}, {SHORT_FRAMES}, {IS_MARKED} FROM instance {JOINS["series"]}
    WHERE tenant = %s AND study_uid = %s AND {SHOWN["instance"]}
    ORDER BY series.series_number, series.series_uid, instance.instance_number, instance.sop_uid"""
LOCATE_SERIES: LiteralString = f"""{LOCATION}, {SHORT_FRAMES}, {IS_MARKED} FROM instance
    WHERE tenant = %s AND study_uid = %s AND series_uid = %s AND {SHOWN["instance"]} ORDER BY instance_number, sop_uid"""
LOCATE_ONE: LiteralString = f"""{LOCATION}, instance.frames, {IS_MARKED} FROM instance
    WHERE tenant = %s AND study_uid = %s AND series_uid = %s AND sop_uid = %s AND {SHOWN["instance"]}"""
# A SOP Instance UID is found in other studies of the list too, which hardly occurs; a join of pairs takes twice as long.
# The list of studies leaves out partitions when the statement is planned: for one study 15 of 16.
IS_CHOSEN: LiteralString = """(study_uid, sop_uid) IN (
    SELECT study_uid, sop_uid FROM decision WHERE tenant = %s AND study_uid = ANY(%s) AND subject = 'choice')"""
CONTENT: LiteralString = f"study_uid, sop_uid, stored_at, data_hash, {IS_CHOSEN}"
SHOWN_CONTENTS: LiteralString = f"""
    SELECT {CONTENT} FROM instance
    WHERE tenant = %s AND study_uid = ANY(%s) AND sop_uid = ANY(%s) AND {SHOWN["instance"]}"""  # noqa: S608 - constants

MARKS = (
    sql.SQL("SELECT {} FROM damage WHERE tenant = %s AND study_uid = %s AND object_key = %s ORDER BY tier")
    .format(columns_of(DamageRow, "damage"))
    .as_bytes()
)
POLICIES = (
    sql.SQL('SELECT {} FROM policy WHERE tenant = %s ORDER BY kind COLLATE "C", name COLLATE "C"')
    .format(columns_of(PolicyRow, "policy"))
    .as_bytes()
)

# Path, operator and form of a condition.
Condition = tuple[str, str, str]


class StatementShape(NamedTuple):
    """Everything that the text of a statement depends on; `is_later` is True for a page of studies after others.

    `conditions` are met by every row that is read, `compared` by those that are found among the first of these.
    """

    level: Level
    is_in_study: bool
    is_in_series: bool
    parents: tuple[Level, ...]
    conditions: tuple[Condition, ...]
    compared: tuple[Condition, ...]
    is_later: bool

    @property
    def is_by_study(self) -> bool:
        """True if series or instances of all studies are asked for, and only their studies have to meet conditions.

        A condition on a series or an instance may have an index, or few rows that meet it: then no study comes first.
        """
        levels = {BY_PATH[path].level for path, _, _ in self.conditions}
        return self.level != "study" and not self.is_in_study and levels <= {"study"}


class PostgresQueries:
    """A CatalogQueries over a pool of connections, which belongs to the event loop that opens it."""

    def __init__(self, settings: CatalogSettings) -> None:
        self._settings = settings
        self._pool = AsyncConnectionPool(
            kwargs=parameters(settings, "fluoro-api", OPTIONS) | {"autocommit": True},
            min_size=1,
            max_size=settings.connections,
            name=pool_name(settings),
            timeout=CONNECT_S,
            reconnect_timeout=CONNECT_S,
            open=False,
        )

    async def __aenter__(self) -> Self:
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    async def search(self, tenant: str, query: Query) -> Page:
        """Return the requested page of shown studies, series or instances."""
        select, count = _statements(_shape(query))
        values = tuple(_values(tenant, query))
        rows = await self._fetch(tenant, select, (*values, query.limit + 1, query.offset))
        remaining = 0
        if len(rows) > query.limit:
            counted = await self._fetch(tenant, count, (*values, query.offset + query.limit, query.most_counted))
            # A result that was there for the page may be gone for the count.
            remaining = max(counted[0][0], 1)
        levels = (*query.parents, query.level)
        return Page(tuple(_hit(row, levels) for row in rows[: query.limit]), remaining)

    async def locate(self, tenant: str, study_uid: str, series_uid: str | None = None) -> tuple[Location, ...]:
        """Return the shown instances of a study or series, in order of series and instance number, without long frames."""
        study = (tenant, study_uid)
        if series_uid is None:
            rows = await self._fetch(tenant, LOCATE_STUDY.encode(), (*study, *study))
        else:
            rows = await self._fetch(tenant, LOCATE_SERIES.encode(), (*study, *study, series_uid))
        return tuple(Location(*row) for row in rows)

    async def locate_one(self, tenant: str, study_uid: str, series_uid: str, sop_uid: str) -> Location | None:
        """Return a shown instance with its frames; None when there is no such instance."""
        study = (tenant, study_uid)
        rows = await self._fetch(tenant, LOCATE_ONE.encode(), (*study, *study, series_uid, sop_uid))
        return Location(*rows[0]) if rows else None

    async def marks(self, tenant: str, study_uid: str, object_key: str) -> tuple[DamageRow, ...]:
        """Return the marks of an object."""
        rows = await self._fetch(tenant, MARKS, (tenant, study_uid, object_key))
        return tuple(row_of(DamageRow, row) for row in rows)

    async def shown(self, tenant: str, instances: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Precedence]:
        """Return the precedence of the shown content of each of these instances that the catalog shows."""
        of_studies = (tenant, list({study for study, _ in instances}))
        values = (*of_studies, *of_studies, list({uid for _, uid in instances}))
        rows = await self._fetch(tenant, SHOWN_CONTENTS.encode(), values)
        asked = set(instances)
        return {
            (study, uid): Precedence(CHOSEN_AT if is_chosen else stored_at, data_hash)
            for study, uid, stored_at, data_hash, is_chosen in rows
            if (study, uid) in asked
        }

    async def history(self, tenant: str, study_uid: str, limit: int, offset: int = 0) -> HistoryRows:
        """Return the rows of a page of a study's history."""
        return await self._asked(lambda connection: read_history(connection, tenant, study_uid, limit, offset))

    async def last_revision(self, tenant: str, study_uid: str) -> RevisionRow | None:
        """Return the last revision of a study, None if it has none."""
        rows = await self._fetch(tenant, LAST_REVISION, (tenant, study_uid))
        return row_of(RevisionRow, rows[0]) if rows else None

    async def policies(self, tenant: str) -> tuple[PolicyRow, ...]:
        """Return the policies in force."""
        rows = (row_of(PolicyRow, row) for row in await self._fetch(tenant, POLICIES, (tenant,)))
        return tuple(replace(row, rules=rules_of(cast("Any", row.rules))) for row in rows)

    async def check(self) -> None:
        """Return once the catalog has answered."""
        await self._fetch("", b"SELECT 1", ())

    async def _fetch(self, tenant: str, statement: bytes, values: Row) -> list[Row]:
        """Return the rows of a statement, run as this tenant."""
        return await self._asked(lambda connection: _transact(connection, tenant, statement, values))

    async def _asked(self, ask: Callable[[AsyncConnection[Row]], Awaitable[T]]) -> T:
        """Return what a connection is asked for; ask again for each pooled connection that turns out to be dead.

        A restart of the database kills all connections of the pool, and a connection is found dead only when used.
        So up to `max_size` tries may fail before the pool opens a new connection.
        """
        try:
            for _ in range(self._pool.max_size):
                try:
                    return await self._ask_one(ask)
                except OperationalError as error:
                    if isinstance(error, PoolTimeout) or error.sqlstate is not None:
                        raise
            return await self._ask_one(ask)
        except (Error, OSError) as error:
            raise unavailable(self._settings, error) from error

    async def _ask_one(self, ask: Callable[[AsyncConnection[Row]], Awaitable[T]]) -> T:
        async with self._pool.connection() as connection:
            return await ask(connection)


async def _transact(connection: AsyncConnection[Row], tenant: str, statement: bytes, values: Row) -> list[Row]:
    """Set the tenant and run the statement, in one transaction and one round trip; return its rows.

    All statements between two syncs of the protocol are one transaction, without BEGIN and COMMIT. If a sync came
    between these two statements, the second would see no tenant, and so no rows.
    """
    async with connection.pipeline():
        await connection.execute(SET_TENANT, (tenant,))
        cursor = await connection.execute(statement, values)
    return await cursor.fetchall()


def _shape(query: Query) -> StatementShape:
    given = (query.study_uid is not None, query.series_uid is not None)
    usual, compared = (tuple(map(_condition, matches)) for matches in (query.usual_matches, query.compared_matches))
    is_later = query.level == "study" and query.offset > 0
    return StatementShape(query.level, *given, query.parents, usual, compared, is_later)


def _condition(match: Match) -> Condition:
    return match.attribute.path, match.operator, _form(match)


def _form(match: Match) -> str:
    """Return the form of a condition's operator, which depends on the number of values."""
    if match.operator == "like":
        return _form_of_patterns(match.attribute, [str(pattern) for pattern in match.values])
    if match.operator == "between":
        low, high = match.values
        return "to" if low is None else "from" if high is None else "both"
    return ""


def _form_of_patterns(attribute: Attribute, patterns: list[str]) -> str:
    """Return "one", "many", or the kind of each pattern, a key of PATTERN, where few of them each have an index."""
    if len(patterns) == 1:
        return "one"
    if len(patterns) > MOST_SPELLED_OUT or attribute.matching in SEVERAL_VALUES:
        return "many"
    return "".join("=" if pattern.startswith("*=") else "-" for pattern in patterns)


def _values(tenant: str, query: Query) -> Iterator[Any]:
    """Yield the values of the statements' parameters, in the order of the text: compared matches are the first."""
    compared = query.compared_matches
    yield from _match_values(compared)
    yield tenant
    yield from (uid for uid in (query.study_uid, query.series_uid) if uid is not None)
    yield from _match_values(query.usual_matches)
    if compared:
        yield query.most_compared


def _match_values(matches: Iterable[Match]) -> Iterator[Any]:
    for match in matches:
        if match.operator == "among":
            yield list(match.values)
        elif match.operator == "like":
            patterns = [like_pattern(str(pattern)) for pattern in match.values]
            yield from [patterns] if _form(match) == "many" else patterns
        else:
            yield from (value for value in match.values if value is not None)


@lru_cache(maxsize=512)
def _statements(shape: StatementShape) -> tuple[bytes, bytes]:
    """Return the statements for a page and for the count of the results after it, which joins only tables with conditions."""
    levels = (*shape.parents, shape.level)
    order = [each for level in levels if level != "study" or not shape.is_in_study for each in ORDER[level]]
    columns = sql.SQL(", ").join([sql.SQL(UIDS[shape.level]), *(sql.SQL(COLUMNS[each]) for each in levels)])
    matched = {BY_PATH[path].level for path, _, _ in (*shape.conditions, *shape.compared)}
    rows = _by_study(shape) if shape.is_by_study else _joined(shape, matched.union(shape.parents))
    if shape.compared:
        page, found = _compared(shape, columns, rows, order)
    else:
        text = LATER_PAGE if shape.is_later else PAGE
        page, found = sql.SQL(text).format(columns=columns, rows=rows, order=_in_order(order)), _joined(shape, matched)
    return page.as_bytes(None), sql.SQL(COUNT).format(found).as_bytes(None)


def _compared(
    shape: StatementShape, columns: sql.Composable, rows: sql.Composable, order: list[Ordered]
) -> tuple[sql.Composable, sql.Composable]:
    """Return the page of a shape that compares the first rows, and all that are found among them."""
    is_found = sql.SQL(" AND ").join(map(_text_of, shape.compared))
    named = [sql.SQL("{} AS {}").format(sql.SQL(column), _place(at)) for at, (column, _) in enumerate(order)]
    again = [sql.SQL("{} {}").format(_place(at), sql.SQL(way)) for at, (_, way) in enumerate(order)]

    def first(selected: sql.Composable) -> sql.Composable:
        return sql.SQL(FIRST_ROWS).format(columns=selected, is_found=is_found, rows=rows, order=_in_order(order))

    placed = first(sql.SQL(", ").join([columns, *named]))
    page = sql.SQL(COMPARED_PAGE).format(first=placed, order=sql.SQL(", ").join(again))
    return page, sql.SQL(COMPARED_REST).format(first=first(sql.SQL("1")))


def _in_order(order: list[Ordered]) -> sql.Composable:
    return sql.SQL(", ").join(sql.SQL("{} {}").format(sql.SQL(column), sql.SQL(way)) for column, way in order)


def _place(number: int) -> sql.Composable:
    return sql.Identifier(f"place_{number}")


def _by_study(shape: StatementShape) -> sql.Composable:
    """Return the rows of a shape that is_by_study."""
    where = sql.SQL(" AND ").join(_conditions(shape._replace(level="study")))
    studies = sql.SQL(STUDIES_IN_ORDER).format(where=where, order=_in_order(list(ORDER["study"])))
    below = LEVELS[1 : LEVELS.index(shape.level) + 1]
    return sql.SQL(" ").join([studies, *(sql.SQL(BELOW[each]) for each in below)])


def _joined(shape: StatementShape, others: set[Level]) -> sql.Composable:
    """Return the rows of a shape, joined with those of other levels."""
    upper = [sql.SQL(join) for table, join in JOINS.items() if table in others and table != shape.level]
    tables = sql.SQL(" ").join([sql.Identifier(shape.level), *upper])
    return sql.SQL("{} WHERE {}").format(tables, sql.SQL(" AND ").join(_conditions(shape)))


def _conditions(shape: StatementShape) -> Iterator[sql.Composable]:
    given = {"tenant": True, "study_uid": shape.is_in_study, "series_uid": shape.is_in_series}
    for column in (column for column, is_given in given.items() if is_given):
        yield sql.SQL("{} = %s").format(sql.Identifier(shape.level, column))
    yield from map(_text_of, shape.conditions)
    yield sql.SQL(SHOWN[shape.level])


def _text_of(condition: Condition) -> sql.Composable:
    path, operator, form = condition
    attribute = BY_PATH[path]
    column = sql.Identifier(attribute.level, attribute.column)
    texts = SEVERAL if attribute.matching in SEVERAL_VALUES else ONE
    if (operator, form) not in texts:
        return sql.SQL("({})").format(sql.SQL(" OR ").join(sql.SQL(PATTERN[kind]).format(column) for kind in form))
    return sql.SQL(texts[operator, form]).format(column)


def _hit(row: Row, levels: tuple[Level, ...]) -> Hit:
    results, start = {}, len(LEVELS)
    for level in levels:
        make, width = RESULTS[level]
        results[level] = make(*row[start : start + width])
        start += width
    return Hit(row[0], row[1], row[2], **results)
