"""A small archive in memory for tests of the verification: objects, rows, and what may become of either."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from operators.catalog.rows import StudyKey
from operators.connectors.memory.objects import MemoryCatalogObjects
from operators.connectors.memory.stores import StoredBytes
from pipelines.batch.verify.copies import CopyReader
from pipelines.batch.verify.pace import CpuPace
from pipelines.batch.verify.study import StudyVerifier, VerifiedStudy
from pipelines.batch.walk import StudyFolder
from schemas.objects import TIERS, Bucket
from tests.support.worlds.reading import World, part10

STUDY = StudyKey("local", "1.2.3")
FOLDER = StudyFolder(*STUDY, tuple(TIERS.values()))
FILES = tuple(part10(SOPInstanceUID=f"1.2.3.1.{number}", InstanceNumber=number) for number in (1, 2, 3))
AT = datetime(2026, 11, 30, 12, tzinfo=UTC)


@dataclass
class VerifiedWorld:
    """An archive of one study with three instances, the moment at which it is verified, and its verifier."""

    world: World = field(default_factory=World)
    now: datetime = AT

    def __post_init__(self) -> None:
        asyncio.run(self.world.add(*FILES))
        self.catalog = MemoryCatalogObjects(tables=self.world.catalog.tables)
        for place, held in self.world.objects.objects.items():
            self.world.objects.objects[place] = replace(held, modified_at=AT - timedelta(days=1))

    @property
    def objects(self) -> dict[tuple[Bucket, str], StoredBytes]:
        """The objects of the store."""
        return self.world.objects.objects

    def key(self, number: int = 1) -> str:
        """Return the key of an instance's object."""
        return self.world.catalog.tables.instances[*STUDY, f"1.2.3.1.{number}"].object_key

    def change(self, number: int = 1, **changes: object) -> None:
        """Change an instance's object as the store has it."""
        place = (Bucket.HOT, self.key(number))
        self.objects[place] = replace(self.objects[place], **changes)  # type: ignore[arg-type]

    def alter(self, number: int = 1) -> None:
        """Change a byte of an instance's object."""
        data = self.objects[Bucket.HOT, self.key(number)].data
        self.change(number, data=data[:-1] + bytes([data[-1] ^ 1]))

    def copy(self, bucket: Bucket, number: int = 1) -> None:
        """Copy an instance's object to another tier."""
        self.objects[bucket, self.key(number)] = self.objects[Bucket.HOT, self.key(number)]

    def lose_row(self, number: int = 1) -> None:
        """Remove an instance's row."""
        del self.world.catalog.tables.instances[*STUDY, f"1.2.3.1.{number}"]

    def change_row(self, number: int = 1, **changes: object) -> None:
        """Change an instance's row."""
        key = (*STUDY, f"1.2.3.1.{number}")
        rows = self.world.catalog.tables.instances
        rows[key] = replace(rows[key], **changes)  # type: ignore[arg-type]

    @property
    def verifier(self) -> StudyVerifier:
        """The verifier of its studies, without pauses."""
        copies = CopyReader(self.world.objects, CpuPace(1), lambda: self.now, grace_s=600)
        return StudyVerifier(copies, self.catalog)

    def verified(self) -> VerifiedStudy:
        """Verify the study."""
        return asyncio.run(self.verifier.verify(FOLDER))
