"""Checks of counts: those in the catalog and in QIDO's answers equal a recount."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.audit.finding import Finding, Findings
from tests.audit.snapshot import Counts, Series, Snapshot, Study, by_study, grouped


def drift(snapshot: Snapshot) -> Findings:
    """Find counts, in the catalog and in QIDO's answers, that differ from a recount (I13)."""
    studies, series = recounted(snapshot)
    pairs: tuple[tuple[str, Mapping[Any, Counts], Iterable[tuple[Any, Counts]]], ...] = (
        ("study row", studies, snapshot.study_counts.items()),
        ("series row", series, snapshot.series_counts.items()),
        ("study in QIDO", studies, snapshot.qido_studies),
        ("series in QIDO", series, snapshot.qido_series),
    )
    for place, true, told_counts in pairs:
        for name, said in told_counts:
            for what in wrong(said, true.get(name, NOTHING)):
                yield Finding(str(name), f"{what} of {place}")
    for place, true, present in (
        ("study row", studies, snapshot.study_counts.keys()),
        ("series row", series, snapshot.series_counts.keys()),
    ):
        for name in true.keys() - present:
            yield Finding(str(name), f"no {place}")


NOTHING = Counts(instances=0, size_bytes=0, series=0, modalities=(), sop_classes=())


def wrong(said: Counts, true: Counts) -> Iterator[str]:
    """Yield the names of the counts that are there and wrong."""
    for what, value in vars(said).items():
        if value is not None and getattr(true, what) is not None and value != getattr(true, what):
            yield what


def recounted(snapshot: Snapshot) -> tuple[dict[Study, Counts], dict[Series, Counts]]:
    """Return the counts of studies and series, counted from the rows of the instances that they show."""
    by_series = grouped(snapshot.shown_rows, lambda row: Series(row.name.tenant, row.name.study_uid, row.series_uid))
    series = {
        name: Counts(instances=len(rows), size_bytes=sum(row.size_bytes for row in rows))
        for name, rows in by_series.items()
    }
    studies = {}
    for study, rows in by_study(snapshot.shown_rows).items():
        modalities = {snapshot.series_modality.get(Series(*study, row.series_uid)) for row in rows}
        studies[study] = Counts(
            instances=len(rows),
            size_bytes=sum(row.size_bytes for row in rows),
            series=len({row.series_uid for row in rows}),
            modalities=tuple(sorted(one for one in modalities if one)),
            sop_classes=tuple(sorted({row.sop_class for row in rows})),
        )
    return studies, series
