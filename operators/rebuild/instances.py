"""The event of a stored object, made again from the object: which of its bytes that takes, and what the event then says."""

from operators.dicom import instance
from operators.dicom.instance import Examination
from operators.dicom.scan import BIG_ITEM, LIMITS, LITTLE_ITEM, Buffer, ScanLimits, scan
from operators.dicom.transfer_syntaxes import NATIVE
from operators.errors import Rejected
from operators.store.ports import StoredObject
from schemas.events import InstanceStored
from schemas.objects import Envelope, Identity

# From its first byte (exclusive of its end), counted from the object's first byte.
ByteRange = tuple[int, int]
# The header of Pixel Data in any form, and of the first item in it (PS3.5 7.1.2, 7.5).
PIXEL_HEADER_BYTES = 12 + 8
OTHER_INSTANCE = "other-instance"
ALTERED_PREFIX, ALTERED_DATA = "prefix-altered", "data-altered"


def stored_event(
    identity: Identity, examination: Examination, stored: StoredObject, transfer_id: str = ""
) -> InstanceStored:
    """Return the event of an object that is in the store, by default with the transfer of its envelope."""
    transfer_id = transfer_id or stored.envelope.transfer_id
    event = instance.instance_stored(identity, examination, stored.envelope, stored.size_bytes, transfer_id=transfer_id)
    return instance.dated_by_store(event, stored.modified_at)


def next_range(whole: Buffer, known: int, envelope: Envelope, limits: ScanLimits = LIMITS) -> ByteRange | None:
    """Return what is to be read next of an object whose first bytes are `known`, so that it can be examined; None if nothing.

    A range that begins behind `known` is the last one. The samples of native pixels are in no range: with zeros in
    their place the examination is the same.
    """
    size_bytes = len(whole)
    beginning = min(envelope.header_length + PIXEL_HEADER_BYTES, size_bytes)
    if known >= size_bytes:
        return None
    if envelope.transfer_syntax not in NATIVE:
        return known, size_bytes
    if known < beginning:
        return known, beginning
    with memoryview(whole) as view, view[envelope.prefix_length : known] as data_set:
        end = _end_of_pixels(data_set, envelope, limits)
    if end is None:
        return known, size_bytes
    return (max(end, known), size_bytes) if end < size_bytes else None


def _end_of_pixels(data_set: memoryview, envelope: Envelope, limits: ScanLimits) -> int | None:
    """Return where native pixels end in the object; None if there are none, or if their bytes tell something."""
    try:
        pixels = scan(data_set, envelope.transfer_syntax, frozenset(), limits).pixels
    except Rejected:
        return None
    if pixels is None or pixels.length is None or bytes(data_set[pixels.start :][:4]) in (LITTLE_ITEM, BIG_ITEM):
        return None
    return envelope.prefix_length + pixels.start + pixels.length


def check_identity(identity: Identity, examination: Examination, envelope: Envelope, whole: Buffer) -> None:
    """Raise Rejected for an object that is not the instance of its key, or whose first bytes are not those of its envelope.

    Where only some of its bytes were read, nothing else tells that an object is foreign or damaged.
    """
    names = ("study_uid", "series_uid", "sop_uid")
    if any(getattr(identity, name) != getattr(examination, name) for name in names):
        raise Rejected(OTHER_INSTANCE)
    with memoryview(whole) as view, view[: envelope.prefix_length] as prefix:
        if instance.prefix_hash(prefix) != envelope.prefix_hash:
            raise Rejected(ALTERED_PREFIX)


def check_content(identity: Identity, envelope: Envelope, whole: Buffer) -> None:
    """Raise Rejected for an object, all of whose bytes were read, with other content than its key says."""
    content = instance.data_hasher(envelope.transfer_syntax)
    with memoryview(whole) as view, view[envelope.prefix_length :] as data_set:
        content.update(data_set)
    if content.hexdigest() != identity.data_hash:
        raise Rejected(ALTERED_DATA)
