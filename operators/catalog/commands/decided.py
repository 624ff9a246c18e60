"""What people have decided about the studies and instances of a batch: which are deleted, and which content is shown."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from operators.catalog.commands.projection import chosen_instance
from operators.catalog.projection import StorableInstance
from operators.catalog.rows import DecisionRow, InstanceKey, StudyKey


@dataclass(frozen=True)
class Decided:
    """The deleted studies, and by instance the contents that were ever chosen for it, the last choice first.

    A deleted study shows no instance, so that its counts are zero. The last choice of an
    instance is shown. If the instance is the first of its study or series, it gives them its attributes by the last
    choice that lies in them: an earlier choice may have been of another series.
    """

    deleted: frozenset[StudyKey] = frozenset()
    choices: Mapping[InstanceKey, tuple[StorableInstance, ...]] = field(default_factory=dict)

    @property
    def chosen(self) -> tuple[StorableInstance, ...]:
        """Return every content that was ever chosen: it counts as an instance that has arrived."""
        return tuple(instance for choices in self.choices.values() for instance in choices)

    def shown_hash(self, key: InstanceKey) -> str | None:
        """Return the data hash of the content that was chosen last; None when nobody has chosen."""
        choices = self.choices.get(key)
        return choices[0].event.data_hash if choices else None


NOTHING_DECIDED = Decided()


def decided(rows: Iterable[DecisionRow]) -> Decided:
    """Return what these rows decide. Raises UnknownSchema for a chosen instance of a newer writer."""
    in_force = [row for row in rows if row.in_force]
    deleted = frozenset(StudyKey(row.tenant, row.study_uid) for row in in_force if row.subject == "deletion")
    choices: dict[InstanceKey, tuple[StorableInstance, ...]] = {}
    for row in sorted(in_force, key=lambda row: (row.occurred_at, row.command_id), reverse=True):
        if row.instance is not None:
            key = InstanceKey(row.tenant, row.study_uid, row.sop_uid)
            choices[key] = (*choices.get(key, ()), chosen_instance(row.instance))
    return Decided(deleted, choices)
