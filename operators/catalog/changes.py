"""The changes that a batch makes to rows: from the rows before and the instances that arrived to the rows after."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from operators.catalog import contents
from operators.catalog.contents import Contents
from operators.catalog.ports import KnownRows, SeriesTotals
from operators.catalog.projection import StorableInstance, instance_row, series_row, study_row
from operators.catalog.rows import ConflictRow, Content, InstanceRow, SeriesKey, SeriesRow, StudyKey, StudyRow

K = TypeVar("K")
T = TypeVar("T")
R = TypeVar("R", StudyRow, SeriesRow)

# The columns of studies and series that are counted from the rows below them.
COUNTED = ("modalities", "sop_classes", "series", "instances", "size_bytes")


@dataclass(frozen=True)
class InstanceChange:
    """The changes at the level of instances.

    `shown` and `lost` are rows to write, `cleared` the keys of conflict rows to delete, `touched` the series to count
    again. `conflicts` has (shown, lost) of every conflict that a content of the batch takes part in, new or not.
    """

    shown: tuple[InstanceRow, ...]
    lost: tuple[ConflictRow, ...]
    cleared: tuple[tuple[str, ...], ...]
    touched: frozenset[SeriesKey]
    conflicts: tuple[tuple[Content, ConflictRow], ...]


def instance_change(known: KnownRows, arrived: Sequence[StorableInstance]) -> InstanceChange:
    """Return the changes that these instances make at their own level; repeats make none."""
    rows: list[InstanceRow] = []
    lost: list[ConflictRow] = []
    cleared: list[tuple[str, ...]] = []
    touched: set[SeriesKey] = set()
    conflicts: list[tuple[Content, ConflictRow]] = []
    for key, group in _grouped(arrived, lambda one: one.key).items():
        shown, lost_before = known.shown.get(key), known.lost.get(key, ())
        now = contents.merge((*((shown,) if shown else ()), *lost_before), (one.content for one in group))
        lost += [row for row in now.lost if row not in lost_before]
        cleared += [(*key, row.data_hash) for row in lost_before if row.data_hash == now.shown.data_hash]
        fresh = {one.event.data_hash for one in group}
        conflicts += [(now.shown, row) for row in now.lost if fresh & {now.shown.data_hash, row.data_hash}]
        if now.shown != shown:
            rows.append(_row(now, group, known.version))
            touched |= {SeriesKey(key.tenant, key.study_uid, one.series_uid) for one in (shown, now.shown) if one}
    return InstanceChange(tuple(rows), tuple(lost), tuple(cleared), frozenset(touched), tuple(conflicts))


def study_and_series_changes(
    known: KnownRows, arrived: Sequence[StorableInstance], series_totals: Mapping[SeriesKey, SeriesTotals]
) -> tuple[tuple[StudyRow, ...], tuple[SeriesRow, ...]]:
    """Return the rows of studies and series to write: attributes of the first instance, counts of the rows below.

    `series_totals` has the counts of every touched series.
    """
    series = _with_first_instances(known.series, arrived, lambda one: one.series_key, series_row)
    series |= {key: replace(series[key], **totals.__dict__) for key, totals in series_totals.items()}
    studies = _with_first_instances(known.studies, arrived, lambda one: one.study_key, study_row)
    of_study = _grouped(series.values(), lambda row: StudyKey(row.tenant, row.study_uid))
    studies |= {key: replace(row, **_totals(of_study[key])) for key, row in studies.items()}
    return _changed(known.studies, studies, known.version), _changed(known.series, series, known.version)


def _grouped(ones: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = {}
    for one in ones:
        groups.setdefault(key(one), []).append(one)
    return groups


def _row(now: Contents, group: Iterable[StorableInstance], version: int) -> InstanceRow:
    return next(instance_row(one, version) for one in group if one.content == now.shown)


def _with_first_instances(
    known: Mapping[Any, R],
    arrived: Sequence[StorableInstance],
    key: Callable[[StorableInstance], Any],
    row_of: Callable[[StorableInstance], R],
) -> dict[Any, R]:
    rows = dict(known)
    for one_key, group in _grouped(arrived, key).items():
        first, before = min(group, key=lambda one: one.precedence), known.get(one_key)
        if before is None:
            rows[one_key] = row_of(first)
        elif first.precedence < (before.first_stored_at, before.first_sop_uid, before.first_data_hash):
            rows[one_key] = _keep_counts(row_of(first), before)
    return rows


def _keep_counts(row: R, before: R) -> R:
    counts = {name: getattr(before, name) for name in COUNTED if hasattr(before, name)}
    return replace(row, **counts, version=before.version)


def _totals(series: Sequence[SeriesRow]) -> dict[str, Any]:
    shown = [row for row in series if row.instances]
    return {
        "modalities": tuple(sorted({row.modality for row in shown if row.modality})),
        "sop_classes": tuple(sorted({sop_class for row in shown for sop_class in row.sop_classes})),
        "series": len(shown),
        "instances": sum(row.instances for row in shown),
        "size_bytes": sum(row.size_bytes for row in shown),
    }


def _changed(before: Mapping[Any, R], after: Mapping[Any, R], version: int) -> tuple[R, ...]:
    return tuple(replace(row, version=version) for key, row in after.items() if row != before.get(key))
