"""The verification of one study: its objects are compared with its rows, and those that are damaged are marked."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from operators.catalog.rows import DamageRow, StudyKey
from operators.integrity.comparison import DAMAGED, Finding, StoredCopy, compare, unchanged
from operators.integrity.ports import CatalogObjects
from pipelines.batch.verify.copies import CopyReader, Place
from pipelines.batch.walk import StudyFolder, objects
from schemas.objects import TIERS


@dataclass(frozen=True)
class VerifiedStudy:
    """What was read of a study, what is wrong with it, how many marks it has now, and how many were removed."""

    objects: int
    size_bytes: int
    findings: tuple[Finding, ...]
    marked: int
    unmarked: int


@dataclass(frozen=True)
class StudyVerifier:
    """The verification of studies, one after the other."""

    copies: CopyReader
    catalog: CatalogObjects

    async def verify(self, study: StudyFolder) -> VerifiedStudy:
        """Return what is wrong with a study, once what is damaged is marked; raises Unavailable.

        Objects move, and rows follow, while they are read: only what a second look finds too is wrong.
        """
        key = StudyKey(study.tenant, study.study_uid)
        places = [Place(bucket, one.key) async for one in objects(self.copies.store, study) for bucket in one.tiers]
        first, copies = await self._compared(key, places)
        doubted = sorted({one.key for one in first})
        again = [Place(bucket, one) for one in doubted for bucket in TIERS.values()]
        second, _ = await self._compared(key, again, doubted) if doubted else ((), ())
        findings = unchanged(first, second)
        taken_at = {(copy.key, copy.tier): copy.modified_at for copy in copies}
        damaged = [one for one in findings if one.kind in DAMAGED]
        marks = [_mark(key, one, taken_at[one.key, one.tier], self.copies.now()) for one in damaged]
        return VerifiedStudy(
            len(copies),
            sum(copy.read.size_bytes for copy in copies if copy.read),
            findings,
            len(marks),
            await self._noted(key, marks, {(one.key, one.tier) for one in first if one.kind in DAMAGED}),
        )

    async def _compared(
        self, study: StudyKey, places: Sequence[Place], keys: Collection[str] | None = None
    ) -> tuple[tuple[Finding, ...], Sequence[StoredCopy]]:
        """Return what is wrong with the objects at these places, or with rows, and the objects; rows of `keys` if given."""
        rows = await asyncio.to_thread(self.catalog.objects, study)
        copies = await self.copies.read_all(places)
        return compare([row for row in rows if keys is None or row.key in keys], copies), copies

    async def _noted(self, study: StudyKey, marks: Sequence[DamageRow], doubted: Collection[tuple[str, str]]) -> int:
        """Write the marks, remove those of objects that were not even doubted, and return how many were removed."""
        known = await asyncio.to_thread(self.catalog.marks, study)
        healed = [mark for mark in known if (mark.object_key, mark.tier) not in doubted]
        await asyncio.to_thread(self.catalog.mark, marks)
        await asyncio.to_thread(self.catalog.unmark, healed)
        return len(healed)


def _mark(study: StudyKey, finding: Finding, taken_at: datetime | None, found_at: datetime) -> DamageRow:
    return DamageRow(
        tenant=study.tenant,
        study_uid=study.study_uid,
        object_key=finding.key,
        tier=finding.tier,
        reason=finding.kind,
        modified_at=taken_at,
        found_at=found_at,
    )
