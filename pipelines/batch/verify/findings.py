"""What was found of a study, as the journal of a run notes it and as a report tells it."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from operators.integrity.comparison import KINDS, Finding, counts
from pipelines.batch.journal import Finished, StoppedWorker
from pipelines.batch.verify.beside import VerifiedFolder
from pipelines.batch.verify.study import VerifiedStudy

# What is counted besides the kinds.
BESIDE = "beside_studies"
COUNTED = ("studies", "objects", "bytes", "marked", "unmarked", "published", BESIDE)
PUBLISHED, COPY_IN = "published", "copy in "


def finished(prefix: str, verified: VerifiedStudy, published: Collection[Finding]) -> Finished:
    """Return the entry of a study in the journal, once the events of these findings were published."""
    numbers: dict[str, int] = {
        "studies": 1,
        "objects": verified.objects,
        "bytes": verified.size_bytes,
        "marked": verified.marked,
        "unmarked": verified.unmarked,
        "published": len(published),
    }
    return _noted(prefix, numbers, verified.findings, published)


def finished_beside(prefix: str, verified: VerifiedFolder) -> Finished:
    """Return the entry of a folder of policies, or of what is in quarantine."""
    return _noted(prefix, {BESIDE: verified.objects}, verified.findings, ())


def _noted(
    prefix: str, numbers: Mapping[str, int], findings: Collection[Finding], published: Collection[Finding]
) -> Finished:
    numbers = {**numbers, **{str(kind): number for kind, number in counts(findings).items()}}
    told = {f"{one.tier}: {one.key}": _told(one, is_published=one in published) for one in findings}
    return Finished(prefix, {name: number for name, number in numbers.items() if number}, told)


def _told(finding: Finding, *, is_published: bool) -> str:
    more = PUBLISHED if is_published else f"{COPY_IN}{finding.copy}" if finding.copy else ""
    return f"{finding.kind}, {more}" if more else finding.kind


@dataclass
class VerificationReport:
    """What a run has found: counts, and an entry for each finding, in the words of JSON."""

    counts: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, journal: Iterable[Finished | StoppedWorker]) -> "VerificationReport":
        """Return the report of a journal's entries; of a study that was finished twice, the last one counts."""
        studies = {entry.prefix: entry for entry in journal if isinstance(entry, Finished)}
        report = cls()
        for _, entry in sorted(studies.items()):
            report.counts.update(entry.counts)
            report.findings += [_finding(place, told) for place, told in entry.left_out.items()]
        return report

    @property
    def is_clean(self) -> bool:
        """True if nothing was found, or all of it was repaired."""
        return all("repair" in one for one in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return the report as values of JSON; it has keys, and no patient data."""
        numbers: Mapping[str, int] = {name: self.counts[name] for name in COUNTED}
        return {**numbers, "found": {kind: self.counts[kind] for kind in KINDS}, "findings": self.findings}


def _finding(place: str, told: str) -> dict[str, str]:
    (tier, key), (kind, _, more) = place.split(": ", 1), told.partition(", ")
    found = {"kind": kind, "tier": tier, "key": key}
    if more == PUBLISHED:
        return found | {"repair": "published"}
    return found | ({"copy": more.removeprefix(COPY_IN)} if more else {})
