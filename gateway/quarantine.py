"""What cannot be shown is kept: its bytes under their hash, for an operator to look at."""

from dataclasses import dataclass

from operators.ports import ObjectStore, Upload
from schemas.objects import Bucket


@dataclass(frozen=True)
class Quarantine:
    """Keeps what was rejected."""

    store: ObjectStore

    async def keep(self, upload: Upload, reason: str) -> None:
        """Keep an object, whose key is tenant/hash; raises Unavailable when that fails."""
        del reason
        await self.store.put(Bucket.QUARANTINE, upload)
