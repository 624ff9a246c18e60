"""Retrieving: instances, frames, rendered images, whole series, and a series' metadata, cold and warm."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.audit.ledger import Line
from tests.bench.archives import FLUORO, Archive
from tests.bench.ingest import loads, senders
from tests.bench.ingest.section import until_queryable
from tests.bench.machine.meter import idle_since, metered
from tests.bench.plan import Plan, say
from tests.bench.reads.http_load import Target, WrongAnswer, one_after_the_other
from tests.bench.report.rounds import BYTES, ITEMS, Round, Row, Unit, rows

SLICES = 250
SECONDS = 2.0
WARM_S = 0.5

PART10 = 'multipart/related; type="application/dicom"; transfer-syntax=*'
PIXELS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
JSON = "application/dicom+json"


def of_instance(line: Line) -> str:
    """Return the path of an instance."""
    return f"{of_series(line)}/instances/{line.sop_uid}"


def of_series(line: Line) -> str:
    """Return the path of an instance's series."""
    return f"/studies/{line.study_uid}/series/{line.series_uid}"


@dataclass(frozen=True)
class Read:
    """One kind of request: its path, what it accepts, how many clients ask for how long, and the unit of its rate."""

    name: str
    path: Callable[[Line], str]
    accept: str
    clients: int = 4
    unit: Unit = ITEMS
    seconds: float = SECONDS


# The first request after a store; then the others, which may find it warm.
COLD = Read("metadata of 250 slices, cold", lambda line: f"{of_series(line)}/metadata", JSON, 1, seconds=1e-9)
READS = (
    COLD,
    Read("metadata of 250 slices, warm", lambda line: f"{of_series(line)}/metadata", JSON),
    Read("instance of 531 KB", of_instance, PART10),
    Read("frame", lambda line: f"{of_instance(line)}/frames/1", PIXELS),
    Read("rendered", lambda line: f"{of_instance(line)}/rendered", "image/jpeg"),
    Read("series of 250 slices", of_series, PART10, unit=BYTES),
)


def section(plan: Plan) -> list[Row]:
    """Return the rows of all reads; each round reads a new study, which all archives have."""
    measured: dict[str, dict[str, list[Round]]] = defaultdict(lambda: defaultdict(list))
    for number in range(plan.read_rounds):
        say(f"round {number + 1} of {plan.read_rounds}: a study of {SLICES} slices is stored and read")
        lines = stored(plan)
        for archive in plan.in_turns(number):
            for read in READS:
                if one := measure(archive, read, lines):
                    measured[read.name][archive.name].append(one)
    return [row for read in READS for row in rows(read.name, read.unit, measured[read.name], FLUORO)]


def stored(plan: Plan) -> Sequence[Line]:
    """Store a new study in every archive; return its lines."""
    with plan.files() as folder:
        load = loads.ct(1, SLICES, next(plan.seeds), folder)
        lines = [sample.line for sample in load.samples]
        plan.ledger.plan(lines)
        for archive in plan.archives:
            senders.storescu(plan.dcmtk, archive, load)
            until_queryable(archive, load)
            idle_since(archive.heads)
        plan.ledger.answers(lines, "acked", "0000")
    return lines


def measure(archive: Archive, read: Read, lines: Sequence[Line]) -> Round | None:
    """Read from an archive; return the round, or None when it does not answer such requests."""
    place = urlsplit(archive.dicomweb)
    paths = list(dict.fromkeys(f"{place.path}{read.path(line)}" for line in lines))
    target = Target(f"http://{place.netloc}", paths, read.accept)
    try:
        if read is not COLD:
            # The first pictures wait for the processes that decode them.
            one_after_the_other(target, read.clients, WARM_S)
        with metered(archive.heads) as cost:
            found = one_after_the_other(target, read.clients, read.seconds)
    except WrongAnswer as wrong:
        say(f"  {archive.name}: {read.name}: {wrong}")
        return None
    amount = found.size_bytes if read.unit is BYTES else len(found.times_s)
    one = Round(amount, found.seconds, cost.used.families, cost.peak_bytes, cost.others, found.times_s)
    say(f"  {archive.name}: {read.name}: {one.line(read.unit)}")
    return one
