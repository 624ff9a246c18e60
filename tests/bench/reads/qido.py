"""Searching among 20,000 studies, whose rows are written as the catalog job would; with --slow among a million, too.

Each search is asked by 16 clients, one request after the other, and then at a steady rate of a third of what the archive
is to answer: what a viewer waits for while it is not alone.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from operators.connectors.postgres.connecting import connect
from schemas.settings.servers import CatalogSettings
from tests.bench import fill_catalog
from tests.bench.archives import FLUORO, Archive
from tests.bench.fill_catalog import FAMILIES
from tests.bench.machine.meter import metered
from tests.bench.plan import Plan, say
from tests.bench.reads import fill_orthanc
from tests.bench.reads.http_load import Answers, Target, at_a_rate, one_after_the_other
from tests.bench.report.rounds import ITEMS, Round, Row, rows

FEW, MANY = 20_000, 1_000_000
CLIENTS = 16
SECONDS = 3.0
WARM_S = 0.5
JSON = "application/dicom+json"


@dataclass(frozen=True)
class Search:
    """A kind of search: the parameters of each request, and the rate that is asked for when it is not alone."""

    name: str
    parameters: Sequence[dict[str, object]]
    rate: float

    def paths(self, prefix: str) -> list[str]:
        """Return the paths of the requests."""
        return [f"{prefix}/studies?{urlencode(one)}" for one in self.parameters]


SEARCHES = (
    Search("exact", [{"AccessionNumber": f"ACC{number:07}"} for number in range(0, FEW, 7)], 300),
    Search("wildcard", [{"PatientName": f"{name}{number}*"} for number in range(97) for name in FAMILIES], 60),
    Search(
        "a month",
        [{"StudyDate": f"{year}{m:02}01-{year}{m:02}28"} for year in range(2017, 2025) for m in range(1, 13)],
        67,
    ),
    Search("the newest 100", [{"limit": 100}], 60),
    Search("100 behind 15,000", [{"limit": 100, "offset": 15_000}], 20),
)
DEEPEST = Search("100 behind 250,000", [{"limit": 100, "offset": 250_000}], 20)


def section(plan: Plan) -> list[Row]:
    """Return the rows of every search; with --slow also those of Orthanc, and of a million studies in our archive."""
    archives = list(plan.archives) if plan.is_slow else [plan.ours]
    for archive in archives:
        say(f"{FEW:,} studies are written into {archive.name}")
        fill(plan, archive, FEW)
    found = [row for search in SEARCHES for row in measured(plan, archives, search, FEW)]
    if plan.is_slow:
        say(f"{MANY:,} studies are written into {plan.ours.name}")
        fill(plan, plan.ours, MANY)
        found += [row for search in (*SEARCHES, DEEPEST) for row in measured(plan, [plan.ours], search, MANY)]
    return found


def fill(plan: Plan, archive: Archive, studies: int) -> None:
    """Write these studies into an archive; into ours, their rows alone, which is all that a search reads."""
    if archive is plan.ours:
        fill_catalog.fill(studies, plan.stack.catalog("writer"))
        vacuum(plan.stack.catalog("owner"))
    else:
        fill_orthanc.fill(studies, archive)


def vacuum(owner: CatalogSettings) -> None:
    """Do at once what PostgreSQL does within minutes by itself: without its statistics the planner takes no index of names."""
    with connect(owner, "fluoro-bench", "", autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE) study, series, instance")


def measured(plan: Plan, archives: Sequence[Archive], search: Search, studies: int) -> list[Row]:
    """Return the rows of a search, with both loads."""
    busy: dict[str, list[Round]] = defaultdict(list)
    paced: dict[str, list[Round]] = defaultdict(list)
    for archive in [archive for _ in range(plan.read_rounds) for archive in archives]:
        place = urlsplit(archive.dicomweb)
        target = Target(f"http://{place.netloc}", search.paths(place.path), JSON)
        one_after_the_other(target, CLIENTS, WARM_S)
        with metered(archive.heads) as cost:
            answers = one_after_the_other(target, CLIENTS, SECONDS)
        one = Round(
            len(answers.times_s), answers.seconds, cost.used.families, cost.peak_bytes, cost.others, answers.times_s
        )
        busy[archive.name].append(one)
        say(f"  {archive.name}: {search.name}: {one.line(ITEMS)}")
        if archive is plan.ours:
            paced[archive.name].append(timed(at_a_rate(target, search.rate, CLIENTS, SECONDS)))
    name = f"{search.name}, {studies:,} studies"
    return [
        *rows(f"{name}, {CLIENTS} clients", ITEMS, busy, FLUORO),
        *rows(f"{name}, at {search.rate:g}/s", ITEMS, paced, FLUORO),
    ]


def timed(answers: Answers) -> Round:
    """Return a round of which only the times count."""
    return Round(len(answers.times_s), answers.seconds, times_s=answers.times_s)
