"""What is answered for an instance whose key exists: the object there is whole, or is replaced, or is to be inspected."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from gateway.intake.deadlines import paused
from gateway.intake.repeats.background import BackgroundInspections
from gateway.intake.repeats.inspection import INSPECTED_AT_ONCE_BYTES, Inspector
from gateway.intake.repeats.replacement import RepeatedInstance, replacement
from gateway.intake.tiers import TieredObject
from operators.errors import Unavailable
from schemas.objects import Envelope

# How often an object is looked at that others replace meanwhile.
LOOKS = 3

log = structlog.get_logger()


@dataclass(frozen=True)
class WholeObject:
    """An object whose bytes were read to their end, or just written, and are those of the instance.

    `modified_at` is when the store took it, cut to the second.
    """

    envelope: Envelope
    size_bytes: int
    modified_at: datetime | None


class RepeatResolver:
    """The repeats of one process."""

    def __init__(self, inspector: Inspector, clock: Callable[[], float]) -> None:
        self._inspector = inspector
        self._tiers = inspector.tiers
        self._background = BackgroundInspections(inspector.inspect, clock)

    async def run(self) -> None:
        """Inspect in the background until cancelled."""
        await self._background.run()

    async def whole_object(
        self, repeat: RepeatedInstance, moved: TieredObject | None, limit: asyncio.Timeout
    ) -> WholeObject:
        """Return the object of a repeated instance, found in a colder tier or not, once it is whole.

        A damaged object is kept aside and replaced by the repeat; `limit` is paused during this PUT, which has its own
        limit as every PUT. Raises Unavailable when the sender must try again: the store does not answer, the object is
        inspected in the background, or others replace or remove it.
        """
        for _ in range(LOOKS):
            found = moved or await self._tiers.find(repeat.upload.key)
            moved = None
            if found is None:
                raise Unavailable("store-object-went")
            if not await self._damage(found, repeat.upload.envelope) and found.envelope:
                return WholeObject(found.envelope, found.size_bytes, found.modified_at)
            if replaced := await self._replaced(found, repeat, limit):
                return replaced
        raise Unavailable("store-object-changes")

    async def _damage(self, found: TieredObject, envelope: Envelope) -> str:
        """Return why an object is damaged, or ""; it is inspected now, or was inspected in the background."""
        known = self._background.verdict(found)
        if known is not None:
            return known
        if found.size_bytes > INSPECTED_AT_ONCE_BYTES:
            self._background.begin(found, envelope)
            raise Unavailable("store-object-inspected")
        try:
            return await self._inspector.inspect(found, envelope)
        except asyncio.CancelledError:
            # It takes too long now, and would each time.
            self._background.begin(found, envelope)
            raise

    async def _replaced(
        self, found: TieredObject, repeat: RepeatedInstance, limit: asyncio.Timeout
    ) -> WholeObject | None:
        """Replace a damaged object; None when it is not there any more, or another one is."""
        upload = await replacement(self._tiers, found, repeat)
        async with paused(limit):
            is_replaced = await self._tiers.replace(found, upload)
        self._background.forget(found)
        if not is_replaced:
            return None
        log.warning("damaged_object_replaced", bucket=found.bucket.value, key=found.key)
        taken = await self._tiers.find(found.key)
        return WholeObject(upload.envelope, upload.size_bytes, taken.modified_at if taken else None)
