"""Rebuild the event of a stored object from its bytes and its envelope."""

import mmap
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from gateway.intake.examiner import Examiner
from gateway.intake.outbox.ledger import POLICY, AnyIntent, DocumentIntent
from gateway.intake.repeats.inspection import damage_of_object, report_damage
from gateway.intake.tiers import TieredObject, TieredStore
from operators.dicom.instance import Examination
from operators.errors import Unavailable, Unreadable
from operators.rebuild.instances import stored_event
from operators.store.ports import StoredObject
from schemas.events import InstanceStored, PolicyChanged, StudyCommand
from schemas.objects import Envelope, Identity

METADATA_UNREADABLE = "metadata-unreadable"


@dataclass(frozen=True)
class Rebuilder:
    """The function by which the outbox rebuilds an event; it copies the object into a temporary file in `folder`."""

    tiers: TieredStore
    folder: Path
    examiner: Examiner = field(default_factory=Examiner)

    async def __call__(self, intent: AnyIntent) -> InstanceStored | StudyCommand | PolicyChanged | None:
        """Return the event of the intent's object, naming the intent's transfer; None if there is no such object, whole.

        Of a policy, the event of its newest version. Raises Unavailable when store or disk cannot answer now, Rejected
        for an object that is not what the intent says.
        """
        if isinstance(intent, DocumentIntent):
            return await (self.tiers.policy if intent.kind == POLICY else self.tiers.command)(intent.key)
        return await self.instance_stored(intent.identity, intent.transfer_id)

    async def instance_stored(self, identity: Identity, transfer_id: str = "") -> InstanceStored | None:
        """Return the event of a stored instance, by default with the transfer of its envelope; None if no tier has it whole.

        A damaged object is counted, logged and left where it is. Raises as the call does.
        """
        found = await self._found(identity.key, transfer_id)
        if found is None:
            return None
        try:
            return await self._event(identity, transfer_id, found)
        except OSError as error:
            raise Unavailable("spool") from error

    async def _found(self, key: str, transfer_id: str) -> TieredObject | None:
        try:
            return await self.tiers.find(key)
        except Unreadable:
            # A store that ails as a whole answers so too; then the check raises.
            await self.tiers.check()
            report_damage(key, METADATA_UNREADABLE, transfer=transfer_id)
            raise

    async def _event(self, identity: Identity, transfer_id: str, found: TieredObject) -> InstanceStored | None:
        with tempfile.TemporaryFile(dir=self.folder) as file:
            reason = await damage_of_object(self.tiers, found, file.write)
            if reason or found.envelope is None:
                report_damage(found.key, reason, bucket=found.bucket, transfer=transfer_id)
                return None
            file.flush()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
                examination = await self._examined(whole, found.envelope)
                stored = StoredObject(found.key, len(whole), found.envelope, found.etag, found.modified_at)
                return stored_event(identity, examination, stored, transfer_id)

    async def _examined(self, whole: mmap.mmap, envelope: Envelope) -> Examination:
        prefix_length = envelope.prefix_length
        with memoryview(whole) as view, view[prefix_length:] as dataset:
            return await self.examiner.examine(dataset, envelope.transfer_syntax, prefix_length)
