"""The catalog's reader: tests of both PostgreSQL and its memory twin, then tests of PostgreSQL alone."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.catalog.contents import CHOSEN_AT, Precedence
from operators.catalog.ports import CatalogQueries, Hit, Location, Page
from operators.catalog.query import BY_PATH, Match, Query, is_like, parse
from operators.connectors.memory.catalog import MemoryCatalog
from operators.connectors.memory.queries import MemoryQueries
from operators.connectors.postgres.catalog import PostgresCatalog
from operators.connectors.postgres.connecting import connected
from operators.connectors.postgres.queries import OPTIONS, PostgresQueries, _shape, _statements, _values
from operators.dicom.attributes import LEVELS, Level
from operators.errors import Unavailable
from operators.stream.step import Record
from schemas.codec import decode, encode
from schemas.events import InstanceStored, StudyCommand, event_id
from schemas.objects import Identity
from schemas.settings.servers import CatalogSettings
from schemas.topics import study_key
from tests.support.worlds.catalog_histories import choice, command, in_tenant, record
from tests.support.worlds.reading import cataloged, ordered, part10, stored

if TYPE_CHECKING:
    from deploy.local.running import RunningStack

# Patient IDs that a query confuses with each other if it forgets to escape a character.
IDS = ("P_1", "PX1", "P%1", "P\\1", "P1", "p_1", "P_12", "Ä%_\\*?", "'; --")


@dataclass(frozen=True)
class Archive:
    """A tenant with rows, a function that makes its reader, and one that writes the rows of records."""

    tenant: str
    reader: Callable[[], Any]
    write: Callable[[list[Record]], None]

    def command(self, event: StudyCommand) -> None:
        """Write the rows of a command."""
        self.write([record(in_tenant(event, self.tenant))])

    def asked(self, ask: Callable[[CatalogQueries], Awaitable[Any]]) -> Any:
        """Return the reader's answer; the reader is opened for it and closed again."""

        async def opened() -> Any:
            async with self.reader() as queries:
                return await ask(queries)

        return asyncio.run(opened())

    def search(self, query: Query, tenant: str | None = None) -> Page:
        page: Page = self.asked(lambda queries: queries.search(tenant or self.tenant, query))
        return page

    def uids(self, pairs: str, level: Level = "study", **path: str) -> list[str]:
        """Return the UIDs of this level that a query string finds."""
        query = parse([tuple(pair.split("=", 1)) for pair in pairs.split("&") if pair], level, **path)  # type: ignore[misc,arg-type]
        return [uid_of(hit) for hit in self.search(query).hits]


def uid_of(hit: Hit) -> str:
    return hit.sop_uid or hit.series_uid or hit.study_uid


def files() -> Iterator[bytes]:
    """Yield a study for each patient ID, on consecutive days; the first has unordered series. The last has no date."""
    for number, patient_id in enumerate(IDS):
        study = f"1.2.{number}"
        yield part10(
            SpecificCharacterSet="ISO_IR 192",
            PatientID=patient_id,
            StudyInstanceUID=study,
            StudyDate=f"202601{number + 1:02}",
            SeriesInstanceUID=f"{study}.1",
            SOPInstanceUID=f"{study}.1.1",
            InstanceNumber=2,
        )
    for series, series_number, modality in (("2", 30, "SR"), ("3", None, "OT"), ("4", 4, "CT")):
        for instance in (2, 1):
            uid = f"1.2.0.{series}"
            yield part10(
                StudyInstanceUID="1.2.0",
                StudyDate="20260101",
                PatientID="P_1",
                SeriesInstanceUID=uid,
                SeriesNumber=series_number,
                Modality=modality,
                SOPInstanceUID=f"{uid}.{instance}",
                InstanceNumber=instance,
            )
    yield part10(
        SpecificCharacterSet="ISO_IR 192",
        StudyInstanceUID="1.3",
        SeriesInstanceUID="1.3.1",
        SOPInstanceUID="1.3.1.1",
        StudyDate=None,
        StudyTime=None,
        PatientID=None,
        AccessionNumber="",
        PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう",
        StudyDescription="Schädel 頭部",
        SeriesDescription="Ax T2 FLAIR_fs",
        RequestAttributesSequence=[ordered("S_1", "R1"), ordered("S2", "R2")],
    )


class AlwaysOpen:
    """A reader in memory, which needs no opening."""

    def __init__(self, queries: CatalogQueries) -> None:
        self.queries = queries

    async def __aenter__(self) -> CatalogQueries:
        return self.queries

    async def __aexit__(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module", params=["memory", "postgres"])
def archive(request: pytest.FixtureRequest) -> Archive:
    """The same rows for each reader, written as the catalog job writes them."""
    tenant = f"read-{uuid4().hex[:12]}"
    if request.param == "memory":
        memory = MemoryCatalog()
        made = Archive(tenant, lambda: AlwaysOpen(MemoryQueries(rows=memory.tables)), partial(cataloged, memory))
    else:
        made = in_postgres(tenant, request.getfixturevalue("stack"))
    made.write([stored(whole, number, tenant)[1] for number, whole in enumerate(files())])
    return made


def in_postgres(tenant: str, stack: "RunningStack") -> Archive:
    """Return a tenant in PostgreSQL, without rows."""

    def write(records: list[Record]) -> None:
        with closing(PostgresCatalog(stack.catalog("writer"))) as catalog:
            cataloged(catalog, records)

    return Archive(tenant, lambda: PostgresQueries(stack.catalog("reader")), write)


DATED = [f"1.2.{number}" for number in reversed(range(len(IDS)))]


@pytest.mark.parametrize(
    ("pairs", "found"),
    [
        ("", [*DATED, "1.3"]),
        ("PatientID=P_1", ["1.2.0"]),
        ("PatientID=P?1", ["1.2.3", "1.2.2", "1.2.1", "1.2.0"]),
        ("PatientID=P_*", ["1.2.6", "1.2.0"]),
        ("PatientID=P%*", ["1.2.2"]),
        ("PatientID=P\\*", ["1.2.3"]),
        ("PatientID=Ä%_\\*", ["1.2.7"]),
        ("PatientID='; --", ["1.2.8"]),
        ("PatientID=p_1", ["1.2.5"]),
        ("PatientName=MULLER^jürgen", DATED),
        ("PatientName=*^jurg*", DATED),
        ("PatientName=山田^太郎", ["1.3"]),
        ("PatientName=yamada*", ["1.3"]),
        ("PatientName=やまだ*", ["1.3"]),
        ("PatientName=Tarou", []),
        ("StudyInstanceUID=1.2.4,1.3,1.9", ["1.2.4", "1.3"]),
        (r"PatientID=P_1\P1&multiplevaluematching=true", ["1.2.4", "1.2.0"]),
        (r"PatientID=P%*\P1&multiplevaluematching=true", ["1.2.4", "1.2.2"]),
        (r"ModalitiesInStudy=S?\O?&multiplevaluematching=true", ["1.2.0"]),
        (r"NumberOfStudyRelatedSeries=4\9&multiplevaluematching=true", ["1.2.0"]),
        ("StudyDate=20260103", ["1.2.2"]),
        ("StudyDate=20260103-20260104", ["1.2.3", "1.2.2"]),
        ("StudyDate=-20260102", ["1.2.1", "1.2.0"]),
        ("StudyDate=20260108-", ["1.2.8", "1.2.7"]),
        ("StudyDate=20260108-20260101", []),
        ("StudyTime=10&StudyDate=-20260101", ["1.2.0"]),
        ("StudyTime=1016-", []),
        ("ModalitiesInStudy=SR", ["1.2.0"]),
        ("ModalitiesInStudy=O?", ["1.2.0"]),
        ("ModalitiesInStudy=SR,OT", ["1.2.0"]),
        ("ModalitiesInStudy=S?,US", ["1.2.0"]),
        ("StudyDescription=SCHÄDEL 頭部", ["1.3"]),
        ("StudyDescription=schä*", ["1.3"]),
        ("StudyDescription=*頭*", ["1.3"]),
        ("StudyDescription=schadel*", []),
        ("PatientName=*N*", DATED),
        ("PatientName=*Y*", ["1.3"]),
        ("PatientName=山*", ["1.3"]),
        ("PatientID=P*&StudyDate=20260102-20260103", ["1.2.2", "1.2.1"]),
        ("SOPClassesInStudy=1.2.840.10008.5.1.4.1.1.2,1.9&StudyDate=20260101", ["1.2.0"]),
        ("NumberOfStudyRelatedSeries=4", ["1.2.0"]),
        ("NumberOfStudyRelatedSeries=99999999999", []),
        ('PatientID=""&emptyvaluematching=true', ["1.3"]),
        ('AccessionNumber=""&emptyvaluematching=true', ["1.3"]),
        ('StudyDate=""&emptyvaluematching=true', ["1.3"]),
        ('ModalitiesInStudy=""&emptyvaluematching=true', []),
    ],
)
def test_studies_are_found_newest_first_and_undated_last(archive: Archive, pairs: str, found: list[str]) -> None:
    assert archive.uids(pairs) == found


@pytest.mark.parametrize(
    ("level", "path", "pairs", "found"),
    [
        ("series", {"study_uid": "1.2.0"}, "", ["1.2.0.1", "1.2.0.4", "1.2.0.2", "1.2.0.3"]),
        ("series", {"study_uid": "1.2.0"}, "Modality=CT", ["1.2.0.1", "1.2.0.4"]),
        ("series", {"study_uid": "1.2.0"}, "Modality=?T&PatientID=PX1", []),
        ("series", {}, "Modality=SR", ["1.2.0.2"]),
        ("series", {}, "PatientID=PX1", ["1.2.1.1"]),
        ("series", {}, "SeriesNumber=4", ["1.2.0.4"]),
        ("series", {}, "SeriesDescription=*flair_FS", ["1.3.1"]),
        ("series", {}, "SeriesDescription=a*&PatientName=*m*", ["1.3.1"]),
        ("series", {"study_uid": "1.2.0"}, "PatientName=m*&SeriesNumber=4", ["1.2.0.4"]),
        ("series", {}, "RequestAttributesSequence.ScheduledProcedureStepID=S_1", ["1.3.1"]),
        ("series", {}, "00400275.00401001=R?", ["1.3.1"]),
        ("series", {}, "00400275.00401001=R1,R2", []),
        ("instance", {}, "00400275.RequestedProcedureID=R2", ["1.3.1.1"]),
        ("instance", {"study_uid": "1.2.0", "series_uid": "1.2.0.2"}, "", ["1.2.0.2.1", "1.2.0.2.2"]),
        ("instance", {"study_uid": "1.2.0"}, "Modality=OT", ["1.2.0.3.1", "1.2.0.3.2"]),
        ("instance", {}, "InstanceNumber=1&Rows=2", ["1.2.0.4.1", "1.2.0.2.1", "1.2.0.3.1", "1.3.1.1"]),
        ("instance", {}, "SOPInstanceUID=1.2.5.1.1", ["1.2.5.1.1"]),
    ],
)
def test_series_and_instances_are_found_by_number_within_their_study(
    archive: Archive, level: Level, path: dict[str, str], pairs: str, found: list[str]
) -> None:
    assert archive.uids(pairs, level, **path) == found


def found_of(archive: Archive, study: str) -> dict[str, list[str]]:
    """Return what every way to read finds of a study whose series has the UID that ends in .1."""
    series, sop_uid = f"{study}.1", f"{study}.1.1"
    located = [
        archive.asked(lambda queries: queries.locate(archive.tenant, study)),
        archive.asked(lambda queries: queries.locate(archive.tenant, study, series)),
        filter(None, [archive.asked(lambda queries: queries.locate_one(archive.tenant, study, series, sop_uid))]),
    ]
    shown = archive.asked(lambda queries: queries.shown(archive.tenant, [(study, sop_uid)]))
    found = {
        "studies": archive.uids(""),
        "all series": archive.uids("", "series"),
        "all instances": archive.uids("", "instance"),
        "series by UID": archive.uids(f"SeriesInstanceUID={series}", "series"),
        "instance by UID": archive.uids(f"SOPInstanceUID={sop_uid}", "instance"),
        "instances by modality": archive.uids("Modality=CT", "instance"),
        "instances by patient": archive.uids("PatientName=*mull*", "instance"),
        "series of it": archive.uids("", "series", study_uid=study),
        "instances of it": archive.uids("", "instance", study_uid=study),
        "instances of the series": archive.uids("", "instance", study_uid=study, series_uid=series),
        **{f"located {at}": [one.sop_uid for one in locations] for at, locations in enumerate(located)},
        "shown": [uid for _, uid in shown],
    }
    return {way: [uid for uid in uids if f"{uid}.".startswith(f"{study}.")] for way, uids in found.items()}


def test_a_deleted_study_is_found_in_no_way_until_it_is_restored(archive: Archive) -> None:
    before, others = found_of(archive, "1.2.4"), found_of(archive, "1.2.5")
    rest = archive.search(Query("instance", limit=1)).remaining
    archive.command(command("delete", "1.2.4", second=1))
    try:
        deleted, fewer = found_of(archive, "1.2.4"), archive.search(Query("instance", limit=1)).remaining
        still = found_of(archive, "1.2.5")
    finally:
        archive.command(command("restore", "1.2.4", second=2))

    assert all(before.values())
    assert not any(deleted.values())
    assert (fewer, still) == (rest - 1, others)
    assert found_of(archive, "1.2.4") == before


def test_a_chosen_content_precedes_every_other(archive: Archive) -> None:
    _, one = stored(
        part10(StudyInstanceUID="1.4", SeriesInstanceUID="1.4.1", SOPInstanceUID="1.4.1.1"), 9, archive.tenant
    )
    _, two = stored(
        part10(StudyInstanceUID="1.4", SeriesInstanceUID="1.4.1", SOPInstanceUID="1.4.1.1", PatientName="Right"),
        99,
        archive.tenant,
    )
    second = decode(two.value)
    assert isinstance(second, InstanceStored)
    archive.write([one, two, record(choice(second))])
    try:
        shown = archive.asked(lambda queries: queries.shown(archive.tenant, [("1.4", "1.4.1.1")]))
        names = archive.uids("PatientName=right"), archive.uids("PatientName=*jurg*&StudyInstanceUID=1.4")
    finally:
        archive.command(command("delete", "1.4"))

    assert shown == {("1.4", "1.4.1.1"): Precedence(CHOSEN_AT, second.data_hash)}
    assert names == (["1.4"], [])


@pytest.mark.parametrize("level", LEVELS)
def test_pages_together_have_every_hit_and_each_counts_the_rest(archive: Archive, level: Level) -> None:
    whole = archive.search(Query(level, limit=1000))
    pages = [archive.search(Query(level, limit=4, offset=offset)) for offset in range(0, len(whole.hits) + 4, 4)]

    assert [hit for page in pages for hit in page.hits] == list(whole.hits)
    assert [page.remaining for page in pages] == [
        max(len(whole.hits) - at, 0) for at in range(4, 4 * len(pages) + 4, 4)
    ]


@pytest.mark.parametrize(
    ("level", "most", "found", "remaining"),
    [
        ("study", 3, ["1.2.6"], 0),
        ("study", 5, ["1.2.6"], 1),
        ("study", 9, ["1.2.6"], 5),
        ("series", 5, ["1.2.6.1"], 1),
        ("instance", 5, ["1.2.6.1.1"], 1),
    ],
)
def test_a_short_pattern_is_compared_with_the_first_rows_of_the_other_conditions(
    archive: Archive, level: Level, most: int, found: list[str], remaining: int
) -> None:
    query = parse([("PatientID", "P*"), ("StudyDate", "20260101-"), ("limit", "1")], level)
    page = archive.search(replace(query, most_compared=most))

    assert ([uid_of(hit) for hit in page.hits], page.remaining) == (found, remaining)


@pytest.mark.parametrize(
    ("level", "pairs", "most", "found"),
    [
        ("series", {"Modality": "SR"}, 10, []),
        ("series", {"Modality": "SR"}, 11, ["1.2.0.2"]),
        ("instance", {"InstanceNumber": "1"}, 9, []),
        ("instance", {"InstanceNumber": "1"}, 12, ["1.2.0.4.1", "1.2.0.2.1"]),
        ("instance", {"InstanceNumber": "1", "PatientSex": "O"}, 12, ["1.2.0.4.1", "1.2.0.2.1"]),
        ("instance", {"InstanceNumber": "1", "PatientID": "P_1"}, 1, ["1.2.0.4.1", "1.2.0.2.1", "1.2.0.3.1"]),
    ],
)
def test_series_and_instances_are_compared_with_the_first_rows_if_no_condition_has_an_index(
    archive: Archive, level: Level, pairs: dict[str, str], most: int, found: list[str]
) -> None:
    page = archive.search(replace(parse(pairs.items(), level), most_compared=most))

    assert [uid_of(hit) for hit in page.hits] == found


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("pairs", [[], [("PatientName", "*N*")]], ids=["all", "short"])
def test_the_results_after_a_page_are_counted_up_to_a_bound(
    archive: Archive, level: Level, pairs: list[tuple[str, str]]
) -> None:
    query = parse([*pairs, ("limit", "1"), ("offset", "1")], level)
    exact = archive.search(query).remaining

    for most in (1, exact - 1, exact, exact + 1):
        assert archive.search(replace(query, most_counted=most)).remaining == min(most, exact)


MANY = 1000


@pytest.fixture(scope="module")
def crowd(request: pytest.FixtureRequest) -> Archive:
    """A tenant in PostgreSQL with MANY instances: studies share dates, series a number, and instances have none."""
    tenant = f"crowd-{uuid4().hex[:12]}"
    whole = part10(InstanceNumber=None)
    _, one = stored(whole, 0, tenant)
    template = decode(one.value)
    assert isinstance(template, InstanceStored)
    events = [instance_of(template, number) for number in range(MANY)]
    stack: RunningStack = request.getfixturevalue("stack")
    made = in_postgres(tenant, stack)
    made.write([replace(one, key=study_key(tenant, event.study_uid), value=encode(event)) for event in events])
    with connected(stack.catalog("owner"), "test", OPTIONS) as owner:
        owner.execute("ANALYZE")
    return made


def instance_of(template: InstanceStored, number: int) -> InstanceStored:
    """Return an instance of a study that has ten, in series of two."""
    study, series = f"1.7.{number // 10}", f"1.7.{number // 10}.{number % 5}"
    identity = Identity(template.tenant, study, series, f"{series}.{number}", template.data_hash)
    return replace(
        template,
        event_id=event_id("instance-stored", template.tenant, study, identity.sop_uid, identity.data_hash),
        study_uid=study,
        series_uid=series,
        sop_uid=identity.sop_uid,
        object_key=identity.key,
        facts=replace(template.facts, study_date=f"2026010{1 + number // 10 % 7}"),
    )


@pytest.mark.parametrize(("level", "count"), [("study", MANY // 10), ("series", MANY // 2), ("instance", MANY)])
def test_pages_of_an_unchanged_catalog_have_each_of_a_thousand_rows_once(
    crowd: Archive, level: Level, count: int
) -> None:
    pages = [crowd.search(Query(level, limit=37, offset=offset)) for offset in range(0, count, 37)]
    found = [uid_of(hit) for page in pages for hit in page.hits]

    assert len(set(found)) == len(found) == count
    assert [page.remaining for page in pages] == [max(count - at - 37, 0) for at in range(0, count, 37)]


@pytest.mark.parametrize("level", ["series", "instance"])
@pytest.mark.parametrize(
    "pairs", [[], [("PatientName", "*N*")], [("Modality", "CT")]], ids=["all", "short", "without an index"]
)
def test_a_page_of_all_studies_reads_the_rows_of_the_first_studies_only(
    crowd: Archive, request: pytest.FixtureRequest, level: Level, pairs: list[tuple[str, str]]
) -> None:
    query = parse([*pairs, ("limit", "10")], level)
    stack: RunningStack = request.getfixturevalue("stack")
    page, _ = _statements(_shape(query))
    with connected(stack.catalog("reader"), "test", OPTIONS) as reader:
        reader.execute("SELECT set_config('fluoro.tenant', %s, false)", (crowd.tenant,))
        explained = b"EXPLAIN (ANALYZE, FORMAT JSON) " + page
        ((plan,),) = reader.execute(explained, (*_values(crowd.tenant, query), 11, 0)).fetchall()

    # An incremental sort begins with 32 rows, and studies have ten instances.
    assert 10 <= rows_read(plan[0]["Plan"], level) < MANY / 10


@pytest.mark.parametrize(
    ("pairs", "index"),
    [
        ("PatientName=*zqx*", "study_by_name"),
        ("PatientID=*X77*", "study_by_part_of_patient_id"),
        ("AccessionNumber=*X77*", "study_by_part_of_accession"),
        ("StudyDescription=*zqx*", "study_by_description"),
        ("ModalitiesInStudy=XA", "study_by_modality"),
        ("ModalitiesInStudy=XA,MG", "study_by_modality"),
    ],
)
def test_an_index_serves_the_count_of_studies(
    crowd: Archive, request: pytest.FixtureRequest, pairs: str, index: str
) -> None:
    """Row-level security leaves an index unused for a condition whose function is not LEAKPROOF."""
    query = parse([tuple(pair.split("=", 1)) for pair in pairs.split("&") if pair], "study")  # type: ignore[misc]
    stack: RunningStack = request.getfixturevalue("stack")
    _, count = _statements(_shape(query))
    # In a small table it costs less to compare every row, unless rows are dear.
    with connected(stack.catalog("reader"), "test", f"{OPTIONS} -c cpu_tuple_cost=1000") as reader:
        reader.execute("SELECT set_config('fluoro.tenant', %s, false)", (crowd.tenant,))
        plan = reader.execute(b"EXPLAIN " + count, (*_values(crowd.tenant, query), 100, 10_000)).fetchall()

    assert f" {index} " in "\n".join(f"{line} " for (line,) in plan)


@pytest.mark.parametrize("study", [None, "1.2.1"])
def test_an_index_alone_serves_the_count_of_instances(reader: CatalogSettings, study: str | None) -> None:
    _, count = _statements(_shape(query := Query("instance", study_uid=study)))
    # Rows are read from indexes wherever that is possible, however small the table.
    without = " ".join(f"-c enable_{way}=off" for way in ("seqscan", "bitmapscan"))
    with connected(reader, "test", f"{OPTIONS} {without}") as connection:
        connection.execute("SELECT set_config('fluoro.tenant', 'local', false)")
        explained = b"EXPLAIN (FORMAT JSON) " + count
        ((plan,),) = connection.execute(explained, (*_values("local", query), 100, 10_000)).fetchall()

    assert scans(plan[0]["Plan"]) == {"Index Only Scan"}


def scans(plan: dict[str, Any]) -> set[str]:
    """Return the kinds of scans in a plan."""
    own = {plan["Node Type"]} if "Scan" in plan["Node Type"] else set()
    return own.union(*map(scans, plan.get("Plans", ())))


def test_every_index_of_parts_keeps_its_list_of_new_values_short(reader: CatalogSettings) -> None:
    """Each search reads the whole list."""
    asked = """SELECT relname FROM pg_class JOIN pg_am ON pg_am.oid = relam WHERE amname = 'gin'
        AND NOT coalesce(reloptions, '{}') @> '{gin_pending_list_limit=64}'"""
    with connected(reader, "test", OPTIONS) as connection:
        long = connection.execute(asked).fetchall()

    assert long == []


def test_a_study_is_shown_while_it_has_instances(crowd: Archive, request: pytest.FixtureRequest) -> None:
    stack: RunningStack = request.getfixturevalue("stack")
    before = crowd.uids("StudyInstanceUID=1.7.5")
    with connected(stack.catalog("writer"), "test", "") as writer:
        change = "UPDATE study SET instances = %s WHERE tenant = %s AND study_uid = '1.7.5'"
        writer.execute(change, (0, crowd.tenant))
        writer.commit()
        hidden = crowd.uids("StudyInstanceUID=1.7.5")
        writer.execute(change, (10, crowd.tenant))

    assert (before, hidden, crowd.uids("StudyInstanceUID=1.7.5")) == (["1.7.5"], [], ["1.7.5"])


def rows_read(plan: dict[str, Any], table: str) -> float:
    """Return how many rows a plan that was carried out has read of a table, or of its partitions."""
    own = plan["Actual Rows"] * plan["Actual Loops"] if plan.get("Relation Name", "").startswith(table) else 0
    return float(own + sum(rows_read(below, table) for below in plan.get("Plans", ())))


def test_a_hit_has_its_own_level_and_the_levels_above(archive: Archive) -> None:
    (study,) = archive.search(parse([("StudyInstanceUID", "1.2.0")], "study")).hits
    (instance,) = archive.search(parse([("SOPInstanceUID", "1.2.0.2.1")], "instance")).hits

    assert study.study
    assert (list(study.study.modalities), study.study.series, study.study.instances) == (["CT", "OT", "SR"], 4, 7)
    assert orjson.loads(study.study.attributes)["00100020"]["Value"] == ["P_1"]
    assert instance.study == study.study
    assert instance.series
    assert instance.series.instances == 2
    assert instance.instance
    assert (instance.instance.tier, instance.instance.transfer_syntax) == ("hot", "1.2.840.10008.1.2.1")


def test_instances_are_located_in_order_and_a_single_one_with_its_frames(archive: Archive) -> None:
    def located(*path: str) -> list[str]:
        found = archive.asked(lambda queries: queries.locate(archive.tenant, *path))
        return [location.sop_uid for location in found]

    single: Location = archive.asked(lambda queries: queries.locate_one(archive.tenant, "1.3", "1.3.1", "1.3.1.1"))

    assert located("1.2.0") == [f"1.2.0.{uid}" for uid in ("1.1", "4.1", "4.2", "2.1", "2.2", "3.1", "3.2")]
    assert located("1.2.0", "1.2.0.2") == ["1.2.0.2.1", "1.2.0.2.2"]
    assert located("1.9") == []
    assert single.frames
    assert [each.frames for each in archive.asked(lambda queries: queries.locate(archive.tenant, "1.3"))] == [
        single.frames
    ]
    assert single.object_key.endswith(f"1.3.1.1_{single.data_hash}.dcm")
    assert archive.asked(lambda queries: queries.locate_one(archive.tenant, "1.3", "1.9", "1.3.1.1")) is None


def test_shown_contents_are_found_in_any_series_of_their_study_many_at_once(archive: Archive) -> None:
    one, other, none = ("1.3", "1.3.1.1"), ("1.2.0", "1.2.0.2.1"), ("1.3", "1.2.0.2.1")
    asked = [one, other, none, *(("1.2.0", f"1.9.{number}") for number in range(10_000))]

    found = archive.asked(lambda queries: queries.shown(archive.tenant, asked))

    located = archive.asked(lambda queries: queries.locate(archive.tenant, "1.3"))
    assert found.keys() == {one, other}
    assert found[one].data_hash == located[0].data_hash
    assert found[other].stored_at.utcoffset() == timedelta()
    assert archive.asked(lambda queries: queries.shown("read-nobody", [one])) == {}
    assert archive.asked(lambda queries: queries.shown(archive.tenant, [])) == {}


def test_another_tenant_sees_nothing(archive: Archive) -> None:
    assert archive.search(Query("instance"), "read-nobody").hits == ()
    assert archive.asked(lambda queries: queries.locate("read-nobody", "1.3")) == ()


def test_a_check_returns_when_the_catalog_answers(archive: Archive) -> None:
    archive.asked(lambda queries: queries.check())


# PostgreSQL alone.


@pytest.fixture(scope="module")
def reader(request: pytest.FixtureRequest) -> CatalogSettings:
    stack: RunningStack = request.getfixturevalue("stack")
    return stack.catalog("reader")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text("P_%\\1*?2Ä'", min_size=1, max_size=6))
def test_postgresql_finds_the_ids_that_match_any_pattern_by_definition(archive: Archive, pattern: str) -> None:
    match = Match(BY_PATH["00100020"], "like", (pattern,))
    found = {hit.study_uid for hit in archive.search(Query("study", matches=(match,))).hits}

    assert found == {f"1.2.{number}" for number, text in enumerate(IDS) if is_like(text, pattern)}


def test_a_database_that_cannot_be_reached_is_unavailable_in_time(reader: CatalogSettings) -> None:
    async def asked() -> None:
        async with asyncio.timeout(10), PostgresQueries(replace(reader, port=1)) as queries:
            await queries.search("local", Query("study"))

    with pytest.raises(Unavailable, match="catalog"):
        asyncio.run(asked())


def test_a_statement_that_takes_too_long_is_unavailable(reader: CatalogSettings) -> None:
    async def asked() -> None:
        async with PostgresQueries(replace(reader, statement_s=0.1)) as queries:
            await queries._fetch("local", b"SELECT pg_sleep(5)", ())

    with pytest.raises(Unavailable):
        asyncio.run(asked())


def test_a_pooled_connection_keeps_no_tenant(reader: CatalogSettings) -> None:
    async def asked() -> list[Any]:
        async with PostgresQueries(replace(reader, connections=1)) as queries:
            await queries.search("local", Query("study"))
            async with queries._pool.connection() as connection:
                cursor = await connection.execute("SELECT current_setting('fluoro.tenant', true), count(*) FROM study")
                return await cursor.fetchall()

    assert asyncio.run(asked()) == [("", 0)]


def test_the_reader_cannot_write(reader: CatalogSettings) -> None:
    async def asked() -> None:
        async with PostgresQueries(reader) as queries, queries._pool.connection() as connection:
            await connection.execute("SET default_transaction_read_only = off")
            await connection.execute("DELETE FROM study")

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        asyncio.run(asked())


def test_a_query_is_answered_even_if_every_pooled_connection_died(reader: CatalogSettings) -> None:
    async def asked() -> Page:
        async with PostgresQueries(replace(reader, connections=2)) as queries:
            await queries.check()
            kill_connections(reader)
            return await queries.search("read-nobody", Query("study"))

    assert asyncio.run(asked()).hits == ()


def kill_connections(reader: CatalogSettings) -> None:
    """End the reader's connections as a restart would."""
    with psycopg.connect(
        host=reader.host, port=reader.port, dbname=reader.database, user=reader.user, password=reader.password
    ) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s AND pid <> pg_backend_pid()",
            (reader.user,),
        )
