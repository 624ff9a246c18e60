"""The changes that a batch makes to rows: from the rows before and the instances that arrived to the rows after."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from operators.catalog.commands.decided import NOTHING_DECIDED, Decided
from operators.catalog.contents import merge, placement
from operators.catalog.ports import KnownRows, SeriesTotals
from operators.catalog.projection import StorableInstance, merged_row, series_row, study_row
from operators.catalog.rows import ConflictRow, Content, InstanceRow, SeriesKey, SeriesRow, StudyKey, StudyRow

K = TypeVar("K")
T = TypeVar("T")
R = TypeVar("R", StudyRow, SeriesRow)

# The columns of studies and series that are counted from the rows below them.
COUNTED = ("modalities", "sop_classes", "series", "instances", "size_bytes")
# The columns that say which instance is the first.
FIRST_INSTANCE = ("first_stored_at", "first_sop_uid", "first_data_hash")


@dataclass(frozen=True)
class InstanceChange:
    """The changes that a batch makes at the level of instances.

    `shown` and `lost` are rows to write, `cleared` the keys of conflict rows to delete, `touched` the series to count
    again. `conflicts` has (shown, lost) of every conflict that a content of the batch takes part in, new or not.
    """

    shown: tuple[InstanceRow, ...]
    lost: tuple[ConflictRow, ...]
    cleared: tuple[tuple[str, ...], ...]
    touched: frozenset[SeriesKey]
    conflicts: tuple[tuple[Content, ConflictRow], ...]


def instance_change(
    known: KnownRows, arrived: Sequence[StorableInstance], decided: Decided = NOTHING_DECIDED
) -> InstanceChange:
    """Return the changes that these instances make at their own level; a repeated instance makes none.

    Whatever was ever chosen for one of these instances is among them.
    """
    rows: list[InstanceRow] = []
    lost: list[ConflictRow] = []
    cleared: list[tuple[str, ...]] = []
    touched: set[SeriesKey] = set()
    conflicts: list[tuple[Content, ConflictRow]] = []
    for key, group in _grouped(arrived, lambda instance: instance.key).items():
        shown_before, lost_before = known.shown.get(key), known.lost.get(key, ())
        contents_before = (*((shown_before,) if shown_before else ()), *lost_before)
        merged = merge(contents_before, (instance.content for instance in group), decided.shown_hash(key))
        lost += [row for row in merged.lost if row not in lost_before]
        cleared += [(*key, row.data_hash) for row in lost_before if row.data_hash == merged.shown.data_hash]
        in_batch = {instance.event.data_hash for instance in group}
        conflicts += [(merged.shown, row) for row in merged.lost if in_batch & {merged.shown.data_hash, row.data_hash}]
        if merged.shown != shown_before:
            rows.append(_shown_row(merged.shown, group, known.version))
            touched |= {_series_of(content) for content in (shown_before, merged.shown) if content}
    return InstanceChange(tuple(rows), tuple(lost), tuple(cleared), frozenset(touched), tuple(conflicts))


def study_and_series_changes(
    known: KnownRows,
    arrived: Sequence[StorableInstance],
    series_totals: Mapping[SeriesKey, SeriesTotals],
    decided: Decided = NOTHING_DECIDED,
) -> tuple[tuple[StudyRow, ...], tuple[SeriesRow, ...]]:
    """Return the rows of studies and series to write: attributes of the first instance, counts of the rows below it.

    `series_totals` has the counts of every series in InstanceChange.touched, and of every one in a study whose deletion
    or restoring is in the batch. What is deleted counts nothing.
    """
    series = _with_first_instances(known.series, arrived, lambda instance: instance.series_key, series_row)
    series |= _with_choices(series, decided, lambda instance: instance.series_key, series_row)
    series |= {key: replace(series[key], **_shown(key, totals, decided)) for key, totals in series_totals.items()}
    studies = _with_first_instances(known.studies, arrived, lambda instance: instance.study_key, study_row)
    studies |= _with_choices(studies, decided, lambda instance: instance.study_key, study_row)
    of_study = _grouped(series.values(), lambda row: StudyKey(row.tenant, row.study_uid))
    studies |= {key: replace(row, **_totals(of_study[key])) for key, row in studies.items()}
    return _changed(known.studies, studies, known.version), _changed(known.series, series, known.version)


def _series_of(content: Content) -> SeriesKey:
    return SeriesKey(content.tenant, content.study_uid, content.series_uid)


def _grouped(values: Iterable[T], key_of: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = {}
    for value in values:
        groups.setdefault(key_of(value), []).append(value)
    return groups


def _shown_row(shown: Content, group: Iterable[StorableInstance], version: int) -> InstanceRow:
    """Return the row of a shown content that has changed, and so has an event in the group."""
    of_content = (instance for instance in group if instance.event.data_hash == shown.data_hash)
    return merged_row(max(of_content, key=lambda instance: placement(instance.content)), shown, version)


def _with_first_instances(
    known: Mapping[Any, R],
    arrived: Sequence[StorableInstance],
    key_of: Callable[[StorableInstance], Any],
    row_of: Callable[[StorableInstance], R],
) -> dict[Any, R]:
    """Return the rows with the attributes of their first instance, known or arrived, and with unchanged counts."""
    rows = dict(known)
    for key, group in _grouped(arrived, key_of).items():
        first, before = min(group, key=lambda instance: instance.precedence), known.get(key)
        if before is None:
            rows[key] = row_of(first)
        elif first.precedence < (before.first_stored_at, before.first_sop_uid, before.first_data_hash):
            rows[key] = _keep_counts(row_of(first), before)
    return rows


def _with_choices(
    rows: Mapping[Any, R],
    decided: Decided,
    key_of: Callable[[StorableInstance], Any],
    row_of: Callable[[StorableInstance], R],
) -> dict[Any, R]:
    """Return the rows whose first instance has a chosen content, with its attributes; they keep their place in the order."""
    found: dict[Any, R] = {}
    for instance in decided.chosen:
        key = key_of(instance)
        if key not in found and rows[key].first_sop_uid == instance.event.sop_uid:
            first = {name: getattr(rows[key], name) for name in FIRST_INSTANCE}
            found[key] = replace(_keep_counts(row_of(instance), rows[key]), **first)
    return found


def _shown(key: SeriesKey, totals: SeriesTotals, decided: Decided) -> dict[str, Any]:
    is_deleted = StudyKey(key.tenant, key.study_uid) in decided.deleted
    return (SeriesTotals() if is_deleted else totals).__dict__


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
