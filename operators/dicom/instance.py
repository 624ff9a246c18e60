"""An instance: the examination of its data set, its content's hash, and the event that reports it as stored."""

import hashlib
import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from operators.dicom import facts
from operators.dicom.attributes import TAGS
from operators.dicom.frames import EXTENDED_OFFSET_TABLE, Shape, locating, move_frames
from operators.dicom.reasons import Oddity, Reason
from operators.dicom.scan import LIMITS, Buffer, Header, Inflated, ScanLimits, scanning
from operators.dicom.transfer_syntaxes import REFERENCED
from operators.errors import Rejected
from operators.pieces import Pieces, finished
from schemas.events import Facts, Frames, InstanceStored, event_id
from schemas.objects import UID_LENGTH, Envelope, Identity, is_uid

MAX_UID_BYTES = 128

# How far a gateway's date may be from the store's at worst (operators/store/clock.py).
DATES_DIFFER = timedelta(seconds=1)

# In the order of Examination's fields.
UIDS = tuple(TAGS[name] for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"))
UID_NAMES = dict(
    zip(UIDS, ("Study Instance UID", "Series Instance UID", "SOP Instance UID", "SOP Class UID"), strict=True)
)
WANTED = facts.WANTED | {*UIDS, EXTENDED_OFFSET_TABLE}
LEADING_ZERO = re.compile(r"\.0[0-9]")

# The fields of the event that are copied from an identity, an examination and an envelope, which have them by these names.
IDENTITY_FIELDS = ("tenant", "study_uid", "series_uid", "sop_uid", "data_hash")
EXAMINATION_FIELDS = ("sop_class", "header_length", "facts", "frames", "warnings")
ENVELOPE_FIELDS = (
    *("transfer_syntax", "prefix_hash", "prefix_length", "origin"),
    *("calling_ae", "called_ae", "received_at", "stored_at"),
)


@dataclass(frozen=True, kw_only=True)
class Examination:
    """The contents of a data set: `header_length` and the frames' offsets count from the first byte of its object."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    header_length: int
    facts: Facts = field(repr=False)
    frames: Frames
    warnings: tuple[str, ...] = ()


def examine(dataset: Buffer, transfer_syntax: str, prefix_length: int, limits: ScanLimits = LIMITS) -> Examination:
    """Read UIDs, facts and frames of a data set that begins `prefix_length` bytes into its object.

    All of a deflated data set counts as header, for Pixel Data begins at no byte of the object.
    Raises Rejected with a Reason.
    """
    return finished(examining(dataset, transfer_syntax, prefix_length, limits))


def examining(
    dataset: Buffer,
    transfer_syntax: str,
    prefix_length: int,
    limits: ScanLimits = LIMITS,
    inflated: Inflated | None = None,
) -> Pieces[Examination]:
    """Return the result of examine(), in pieces; the result of inflate() may be given for a deflated data set."""
    header = yield from scanning(dataset, transfer_syntax, WANTED, limits, inflated)
    study_uid, series_uid, sop_uid, sop_class = uids = [_uid(header, tag) for tag in UIDS]
    found, oddities = yield from facts.reading_facts(header)
    shape = _shape(found)
    located = yield from locating(header, transfer_syntax, shape, prefix_length)
    oddities |= header.oddities | located.oddities
    is_image = found.rows and found.columns and found.bits_allocated
    if header.pixels is None and is_image and transfer_syntax not in REFERENCED:
        oddities.add(Oddity.MISSING_PIXELS)
    components = "." + ".".join(uids)
    if ".0" in components and LEADING_ZERO.search(components):
        oddities.add(Oddity.LEADING_ZERO_IN_UID)
    return Examination(
        study_uid=study_uid,
        series_uid=series_uid,
        sop_uid=sop_uid,
        sop_class=sop_class,
        header_length=prefix_length + (len(dataset) if header.is_deflated else header.end),
        facts=found,
        frames=located.frames,
        warnings=tuple(sorted(oddity.value for oddity in oddities)) if oddities else (),
    )


def _uid(header: Header, tag: int) -> str:
    raw = header.raw(tag, MAX_UID_BYTES)
    text = (raw or b"").decode("latin-1").rstrip(" \0")
    if not is_uid(text):
        fault = "is missing" if raw is None else _fault_of_uid(text)
        raise Rejected(Reason.NO_USABLE_UID.value, f"{UID_NAMES[tag]} {fault}")
    return text


def _fault_of_uid(text: str) -> str:
    """Return what is wrong with a text that is no UID, without a part of it."""
    if not text:
        return "is empty"
    return f"is longer than {UID_LENGTH} characters" if len(text) > UID_LENGTH else "is not numbers between dots"


def _shape(found: Facts) -> Shape:
    count = found.number_of_frames or ""
    return Shape(
        rows=found.rows,
        columns=found.columns,
        samples=found.samples_per_pixel,
        bits_allocated=found.bits_allocated,
        photometric_interpretation=found.photometric_interpretation,
        count=int(count) if facts.DIGITS.fullmatch(count) and int(count) > 0 else None,
    )


def move_examination(examination: Examination, difference: int) -> Examination:
    """Return the same examination with all offsets moved by `difference` bytes, as after another prefix."""
    return replace(
        examination,
        header_length=examination.header_length + difference,
        frames=move_frames(examination.frames, difference),
    )


def data_hasher(transfer_syntax: str) -> "hashlib._Hash":
    """Return the hash that identifies content, to be updated with all bytes of the data set."""
    return hashlib.sha256(transfer_syntax.encode() + b"\0")


def prefix_hash(prefix: Buffer) -> str:
    """Return the hash of preamble and file meta, which the data hash does not cover."""
    return hashlib.sha256(prefix).hexdigest()


def instance_stored(
    identity: Identity,
    examination: Examination,
    envelope: Envelope,
    size_bytes: int,
    *,
    transfer_id: str | None = None,
) -> InstanceStored:
    """Return the event of an object that is stored under this identity with this envelope.

    A repeat's event names the transfer that brought the repeat; all else, the event id too, is the stored object's.
    """
    transfer = transfer_id or envelope.transfer_id
    return InstanceStored(
        event_id=event_id("instance-stored", identity.tenant, identity.study_uid, identity.sop_uid, identity.data_hash),
        occurred_at=envelope.stored_at,
        cause=(transfer,),
        transfer_id=transfer,
        object_key=identity.key,
        size_bytes=size_bytes,
        **_copied(identity, IDENTITY_FIELDS),
        **_copied(examination, EXAMINATION_FIELDS),
        **_copied(envelope, ENVELOPE_FIELDS),
    )


def dated_by_store(event: InstanceStored, modified_at: datetime | None) -> InstanceStored:
    """Return an object's event with `occurred_at` as the time at which the store took the object, if that was later.

    It was later where a PUT was carried out late, or where an object was replaced, moved or restored. The event is
    unchanged where the two dates differ by no more than dates do, or where `modified_at` is None.
    """
    if modified_at is None or modified_at - event.stored_at <= DATES_DIFFER:
        return event
    return replace(event, occurred_at=modified_at)


def _copied(record: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}
