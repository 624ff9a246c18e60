"""What lies beside the studies: versions of policies, and what is in quarantine. No row describes it: it describes itself."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from operators.errors import Rejected, Unreadable
from operators.integrity.comparison import ContentBytes, Finding, Kind, unchanged
from operators.retrieval.reading import content_of
from operators.store import quarantine
from operators.store.policies import KEY, POLICIES
from operators.store.ports import NoEnvelope, ObjectStore
from pipelines.batch import walk
from pipelines.batch.running import Shift
from pipelines.batch.verify.pace import CpuPace
from pipelines.batch.walk import StudyFolder
from schemas.objects import DATA_HASH, TENANT, Bucket


@dataclass(frozen=True)
class VerifiedFolder:
    """How many objects a folder has, and what is wrong with them."""

    objects: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class BesideStudies:
    """The verification of a tenant's policies, and of its quarantine; raises Unavailable."""

    store: ObjectStore
    pace: CpuPace

    async def folders(self, shift: Shift) -> AsyncIterator[StudyFolder]:
        """Yield the folders of a share that are not finished; none if studies alone are selected."""
        if shift.selection.study_uid or shift.selection.has_span:
            return
        policies = await walk.tenants(self.store, shift.selection, [Bucket.HOT])
        held = await walk.tenants(self.store, shift.selection, [Bucket.QUARANTINE])
        folders = [StudyFolder(tenant, walk.POLICIES, (Bucket.HOT,)) for tenant in policies]
        for folder in [*folders, *(StudyFolder(walk.QUARANTINE, tenant, (Bucket.QUARANTINE,)) for tenant in held)]:
            if folder.is_in(shift.share) and folder.prefix not in shift.finished:
                yield folder

    async def verify(self, folder: StudyFolder) -> VerifiedFolder:
        """Return what a second look finds wrong too: a damaged object may have been replaced meanwhile."""
        first = await self._look(folder)
        second = await self._look(folder) if first.findings else first
        return VerifiedFolder(second.objects, unchanged(first.findings, second.findings))

    async def _look(self, folder: StudyFolder) -> VerifiedFolder:
        (bucket,) = folder.tiers
        prefix = folder.prefix.removeprefix(f"{walk.QUARANTINE}/")
        objects, findings = 0, list[Finding]()
        async for key in self.store.keys(bucket, prefix):
            objects += 1
            if kind := await self._kind(bucket, key):
                findings.append(Finding(kind, key, bucket.value))
        return VerifiedFolder(objects, tuple(findings))

    async def _kind(self, bucket: Bucket, key: str) -> Kind | None:
        """Return what is wrong with an object; None if it is good, or gone."""
        try:
            return await (self._held(key) if bucket == Bucket.QUARANTINE else self._policy(key))
        except (Rejected, NoEnvelope):
            return "orphan"
        except Unreadable:
            # A store that ails as a whole answers so too; then the check raises.
            await self.store.check()
            return "hash"
        except KeyError:
            return None

    async def _policy(self, key: str) -> Kind | None:
        await POLICIES.find(self.store, key)
        return None if KEY.fullmatch(key) else "orphan"

    async def _held(self, key: str) -> Kind | None:
        if quarantine.is_damaged_key(key):
            return None
        tenant, data_hash = quarantine.tenant_and_hash(key)
        if not (TENANT.fullmatch(tenant) and DATA_HASH.fullmatch(data_hash)):
            return "orphan"
        stored = await self.store.head(Bucket.QUARANTINE, key)
        if stored is None:
            return None
        envelope, chunks = stored.envelope, self.pace.paced(self.store.read(Bucket.QUARANTINE, key))
        read = await content_of(chunks, envelope.transfer_syntax, envelope.prefix_length)
        return None if read == ContentBytes(stored.size_bytes, envelope.prefix_hash, data_hash) else "hash"
