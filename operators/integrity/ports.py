"""The port of the rows that name stored objects, for whoever compares the two; `connectors/` has two of it."""

from collections.abc import Collection
from typing import Protocol

from operators.catalog.rows import DamageRow, StudyKey
from operators.integrity.comparison import CatalogedObject


class CatalogObjects(Protocol):
    """The catalog's rows as far as they name objects, of all tenants, and the marks of damaged objects.

    Rows are written after their objects: an object that was stored a moment ago may have none yet. Every method raises
    Unavailable when the catalog does not answer.
    """

    def studies(self, tenant: str | None, after: StudyKey | None, most: int) -> tuple[StudyKey, ...]:
        """Return the next `most` studies after one, in bytewise order of their keys; with None the first ones.

        With a `tenant` only its studies. Studies that are not shown are among them.
        """

    def objects(self, study: StudyKey) -> tuple[CatalogedObject, ...]:
        """Return every object that a row of this study names: of shown contents, of hidden ones, and of conflicts."""

    def marks(self, study: StudyKey) -> tuple[DamageRow, ...]:
        """Return the marks of a study's objects, in the order of keys and tiers."""

    def mark(self, rows: Collection[DamageRow]) -> None:
        """Write marks; of one object in one tier, the row with the greatest `found_at` stays."""

    def unmark(self, rows: Collection[DamageRow]) -> None:
        """Remove these marks, unless they were written again with a later `found_at`."""
