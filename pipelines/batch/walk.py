"""The walk through the object store: its studies, one after the other, from all tiers at once.

The store's folders are listed, not its objects, so that a walk holds a page of names for each tier, however many
objects there are.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from zlib import crc32

from operators.store.ports import ListedObject, ObjectStore
from pipelines.batch.selection import Selection
from schemas.objects import TIERS, Bucket

# What is no study among the folders of a tenant; and, in the place of a tenant, where none can be called so, the quarantine.
POLICIES, QUARANTINE = "_policies", "_quarantine"
# A fraction of all studies: its number, and how many there are.
Share = tuple[int, int]
WHOLE: Share = (0, 1)

T = TypeVar("T")


@dataclass(frozen=True)
class StudyFolder:
    """A study's folder: its tenant, the tiers that have objects in it, and its name.

    The name is a Study Instance UID, unless the folder was made by something else than this archive.
    """

    tenant: str
    study_uid: str
    tiers: tuple[Bucket, ...]

    @property
    def prefix(self) -> str:
        """Return what the keys of all its objects begin with."""
        return f"{self.tenant}/{self.study_uid}/"

    def is_in(self, share: Share) -> bool:
        """True if the study belongs to this share; each study belongs to one of them."""
        number, shares = share
        return crc32(self.prefix.encode()) % shares == number


@dataclass(frozen=True)
class FoundObject:
    """An object as the store lists it, and the tiers that have one under its key, the warmest first."""

    listed: ListedObject
    tiers: tuple[Bucket, ...]

    @property
    def key(self) -> str:
        """Return the object's key."""
        return self.listed.key


@dataclass(frozen=True)
class Size:
    """How many studies there are, and how many objects they have; those that are in two tiers count twice."""

    studies: int = 0
    objects: int = 0


async def tenants(store: ObjectStore, selection: Selection, buckets: Sequence[Bucket] = ()) -> list[str]:
    """Return the tenants of the selection that have objects in any of the buckets, by default in any tier."""
    found = set[str]()
    for bucket in buckets or TIERS.values():
        async for name in store.folders(bucket, ""):
            found.add(name)
    return sorted(found if selection.tenant is None else found & {selection.tenant})


async def studies(store: ObjectStore, selection: Selection, share: Share = WHOLE) -> AsyncIterator[StudyFolder]:
    """Yield the studies of a selection that belong to a share, tenant by tenant; raises Unavailable.

    A study is yielded once. One that is added or removed meanwhile may be missing.
    """
    async for study, _ in _selected(store, selection):
        if study.is_in(share):
            yield study


async def objects(store: ObjectStore, study: StudyFolder) -> AsyncIterator[FoundObject]:
    """Yield the objects of a study in the order of their keys, its commands last; each key once, whatever tiers have it."""
    async for _, listed, tiers in _merged([_objects(store, bucket, study.prefix) for bucket in study.tiers]):
        yield FoundObject(listed, tiers)


async def measured(store: ObjectStore, selection: Selection) -> Size:
    """Return how many studies and objects a selection has, by listing them all."""
    if selection.study_uid or selection.has_span:
        return await _measured_by_study(store, selection)
    studies_found = objects_found = 0
    for tenant in await tenants(store, selection):
        for bucket in TIERS.values():
            last = POLICIES
            async for key in store.keys(bucket, f"{tenant}/"):
                _, folder, *_ = key.split("/", 2)
                if folder != POLICIES:
                    objects_found += 1
                    studies_found += folder != last
                last = folder
    return Size(studies_found, objects_found)


async def _measured_by_study(store: ObjectStore, selection: Selection) -> Size:
    studies_found = objects_found = 0
    async for study, count in _selected(store, selection):
        studies_found += 1
        objects_found += count
        if not count:
            async for _ in objects(store, study):
                objects_found += 1
    return Size(studies_found, objects_found)


async def _selected(store: ObjectStore, selection: Selection) -> AsyncIterator[tuple[StudyFolder, int]]:
    """Yield the studies of a selection, tenant by tenant, and how many objects each has, 0 if that is not known."""
    for tenant in await tenants(store, selection):
        if selection.has_span:
            async for study, count in _in_span(store, tenant, selection):
                yield study, count
        else:
            async for study in _of_tenant(store, tenant, selection.study_uid):
                yield study, 0


async def _in_span(store: ObjectStore, tenant: str, selection: Selection) -> AsyncIterator[tuple[StudyFolder, int]]:
    """Yield the studies of which the store took an object in the time, and how many objects each has.

    All objects are listed, a thousand in a request: a request for each study would take longer, since most studies are small.
    """
    prefix = f"{tenant}/{selection.study_uid}/" if selection.study_uid else f"{tenant}/"
    found = _FoundStudy()
    async for key, listed, tiers in _merged([_objects(store, bucket, prefix) for bucket in TIERS.values()]):
        _, name, *_ = key.split("/", 2)
        if name != found.name:
            if found.is_selected:
                yield found.folder(tenant), found.objects
            found = _FoundStudy(name)
        found.add(tiers, is_selected=name != POLICIES and selection.has_moment(listed.modified_at))
    if found.is_selected:
        yield found.folder(tenant), found.objects


@dataclass
class _FoundStudy:
    """A study as a listing of its tenant's objects finds it."""

    name: str = ""
    tiers: set[Bucket] = field(default_factory=set)
    objects: int = 0
    is_selected: bool = False

    def add(self, tiers: Sequence[Bucket], *, is_selected: bool) -> None:
        """Count an object; one that is selected selects the study."""
        self.tiers.update(tiers)
        self.objects += 1
        self.is_selected |= is_selected

    def folder(self, tenant: str) -> StudyFolder:
        """Return the study's folder."""
        return StudyFolder(tenant, self.name, tuple(tier for tier in TIERS.values() if tier in self.tiers))


async def _of_tenant(store: ObjectStore, tenant: str, study_uid: str | None) -> AsyncIterator[StudyFolder]:
    if study_uid:
        tiers = [bucket for bucket in TIERS.values() if await _has_any(store, bucket, f"{tenant}/{study_uid}/")]
        if tiers:
            yield StudyFolder(tenant, study_uid, tuple(tiers))
        return
    async for _, name, tiers_of_it in _merged([_folders(store, bucket, tenant) for bucket in TIERS.values()]):
        if name != POLICIES:
            yield StudyFolder(tenant, name, tiers_of_it)


async def _has_any(store: ObjectStore, bucket: Bucket, prefix: str) -> bool:
    async for _ in store.keys(bucket, prefix):
        return True
    return False


# An entry of a tier's list, behind the text by which the list is in order.
Entry = tuple[str, T, Bucket]


async def _folders(store: ObjectStore, bucket: Bucket, tenant: str) -> AsyncIterator[Entry[str]]:
    async for name in store.folders(bucket, f"{tenant}/"):
        # A store orders folders as keys, with the slash.
        yield f"{name}/", name, bucket


async def _objects(store: ObjectStore, bucket: Bucket, prefix: str) -> AsyncIterator[Entry[ListedObject]]:
    async for listed in store.listing(bucket, prefix):
        yield listed.key, listed, bucket


async def _merged(lists: Sequence[AsyncIterator[Entry[T]]]) -> AsyncIterator[tuple[str, T, tuple[Bucket, ...]]]:
    """Yield the entries of all lists in order, those that are in several lists once: as in the first, with their buckets."""
    heads = [(each, head) for each in lists if (head := await anext(each, None))]
    while heads:
        least = min(head[0] for _, head in heads)
        same = [head for _, head in heads if head[0] == least]
        yield least, same[0][1], tuple(bucket for _, _, bucket in same)
        moved = [(each, await anext(each, None) if head[0] == least else head) for each, head in heads]
        heads = [(each, head) for each, head in moved if head]
