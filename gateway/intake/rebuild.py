"""Rebuild the event of a stored object from its bytes and its envelope."""

import mmap
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from gateway.intake.long_work import LongWork
from gateway.intake.outbox.ledger import Intent
from gateway.intake.tiers import TieredObject, TieredStore
from operators.dicom import instance
from operators.dicom.scan import LIMITS, ScanLimits
from operators.errors import Unavailable
from schemas.events import InstanceStored


@dataclass(frozen=True)
class Rebuilder:
    """The function by which the outbox rebuilds an event; it copies the object into a temporary file in `folder`."""

    tiers: TieredStore
    folder: Path
    limits: ScanLimits = LIMITS
    long_work: LongWork = field(default_factory=LongWork)

    async def __call__(self, intent: Intent) -> InstanceStored | None:
        """Return the event of the intent's object, naming the intent's transfer; None if no tier has the object, or any of it.

        Raises Unavailable when store or disk cannot answer now, Rejected for an object that is no instance.
        """
        found = await self.tiers.find(intent.key)
        if found is None:
            return None
        try:
            return await self._event(intent, found)
        except OSError as error:
            raise Unavailable("spool") from error
        except KeyError as error:
            raise Unavailable("store-object-went") from error

    async def _event(self, intent: Intent, found: TieredObject) -> InstanceStored | None:
        with tempfile.TemporaryFile(dir=self.folder) as file:
            async for chunk in self.tiers.read(found):
                file.write(chunk)
            if not file.tell():
                return None
            file.flush()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
                event = instance.making_event_of_object(
                    intent.key, found.stored.envelope, whole, transfer_id=intent.transfer_id, limits=self.limits
                )
                return await self.long_work.run(event)
