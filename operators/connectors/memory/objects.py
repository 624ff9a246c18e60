"""The rows in memory that name stored objects, and the marks of damaged ones."""

from collections.abc import Collection
from dataclasses import dataclass, field

from operators.catalog.rows import Content, DamageRow, InstanceRow, StudyKey
from operators.connectors.memory.catalog import MemoryTables
from operators.connectors.memory.stores import Failing
from operators.integrity.comparison import UNDESCRIBED, CatalogedObject, ContentBytes
from schemas.objects import command_key


@dataclass
class MemoryCatalogObjects(Failing):
    """CatalogObjects over a MemoryCatalog's tables."""

    tables: MemoryTables = field(default_factory=MemoryTables)

    def studies(self, tenant: str | None, after: StudyKey | None, most: int) -> tuple[StudyKey, ...]:
        """Return the next studies after one."""
        self.before_request("catalog")
        known = {*self.tables.studies, *(key[:2] for key in self.tables.commands)}
        found = sorted(key for key in known if key > (after or ("", "")) and tenant in (None, key[0]))
        return tuple(StudyKey(*key) for key in found[:most])

    def objects(self, study: StudyKey) -> tuple[CatalogedObject, ...]:
        """Return every object that a row of this study names."""
        self.before_request("catalog")
        shown = (_object(row, row.tier) for key, row in self.tables.instances.items() if key[:2] == study)
        lost = (_object(row, None) for key, row in self.tables.conflicts.items() if key[:2] == study)
        commands = (command_key(*study, str(key[2])) for key in self.tables.commands if key[:2] == study)
        return (*shown, *lost, *(CatalogedObject(key, "hot", UNDESCRIBED) for key in commands))

    def marks(self, study: StudyKey) -> tuple[DamageRow, ...]:
        """Return the marks of a study's objects."""
        self.before_request("catalog")
        return tuple(row for key, row in sorted(self.tables.damage.items()) if key[:2] == study)

    def mark(self, rows: Collection[DamageRow]) -> None:
        """Write marks."""
        self.before_request("catalog")
        for row in rows:
            other = self.tables.damage.get(_key(row), row)
            self.tables.damage[_key(row)] = max(other, row, key=lambda each: each.found_at)

    def unmark(self, rows: Collection[DamageRow]) -> None:
        """Remove these marks, unless they were written again later."""
        self.before_request("catalog")
        for row in rows:
            if _key(row) in self.tables.damage and self.tables.damage[_key(row)].found_at <= row.found_at:
                del self.tables.damage[_key(row)]


def _key(row: DamageRow) -> tuple[str, str, str, str]:
    return row.tenant, row.study_uid, row.object_key, row.tier


def _object(row: Content | InstanceRow, tier: str | None) -> CatalogedObject:
    return CatalogedObject(row.object_key, tier, ContentBytes(row.size_bytes, row.prefix_hash, row.data_hash))
