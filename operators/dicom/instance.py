"""An instance: its prefix and its data set, what the data set says of itself, and the event of its being stored."""

import hashlib
import re
import struct
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

from pydicom import charset

from operators.dicom.frames import EXTENDED_OFFSET_TABLE, Shape, locate, shift
from operators.dicom.scan import (
    LIMITS,
    LONG_VRS,
    REQUEST_ATTRIBUTES,
    Buffer,
    Header,
    Oddity,
    Reason,
    ScanLimits,
    Value,
    items_of,
    scan,
)
from operators.errors import Rejected
from schemas.events import Facts, Frames, InstanceStored, event_id
from schemas.objects import Envelope, Identity, is_uid

MAX_INLINE_HEADER_BYTES = 128 << 10
MAX_TEXT_LENGTH = 1024
MAX_TEXT_BYTES = 16 * MAX_TEXT_LENGTH
MAX_UID_BYTES = 128
MAX_META_ELEMENTS = 1000
MAX_META_BYTES = 1 << 20
MAX_INT = (1 << 31) - 1

IMPLEMENTATION_CLASS_UID = "2.25.126422593918164961863054490869457189904"
IMPLEMENTATION_VERSION_NAME = "FLUORO_1"

PREAMBLE = bytes(128)
MAGIC = b"DICM"
META_START = len(PREAMBLE) + len(MAGIC)
META_ELEMENT = struct.Struct("<HH2sH")
META_GROUP = 0x0002

STUDY_UID = 0x0020000D
SERIES_UID = 0x0020000E
SOP_UID = 0x00080018
SOP_CLASS = 0x00080016

# Which element each fact is, and its VR: PS3.6 6.
FACTS: dict[str, tuple[int, str]] = {
    "specific_character_set": (0x00080005, "CS"),
    "timezone_offset_from_utc": (0x00080201, "SH"),
    "patient_name": (0x00100010, "PN"),
    "patient_id": (0x00100020, "LO"),
    "issuer_of_patient_id": (0x00100021, "LO"),
    "patient_birth_date": (0x00100030, "DA"),
    "patient_sex": (0x00100040, "CS"),
    "study_date": (0x00080020, "DA"),
    "study_time": (0x00080030, "TM"),
    "accession_number": (0x00080050, "SH"),
    "referring_physician_name": (0x00080090, "PN"),
    "study_description": (0x00081030, "LO"),
    "study_id": (0x00200010, "SH"),
    "modality": (0x00080060, "CS"),
    "series_description": (0x0008103E, "LO"),
    "series_number": (0x00200011, "IS"),
    "body_part_examined": (0x00180015, "CS"),
    "performed_procedure_step_start_date": (0x00400244, "DA"),
    "performed_procedure_step_start_time": (0x00400245, "TM"),
    "instance_number": (0x00200013, "IS"),
    "number_of_frames": (0x00280008, "IS"),
    "photometric_interpretation": (0x00280004, "CS"),
    "samples_per_pixel": (0x00280002, "US"),
    "rows": (0x00280010, "US"),
    "columns": (0x00280011, "US"),
    "bits_allocated": (0x00280100, "US"),
}
# Facts in the items of a sequence; all are SH.
REQUESTED: dict[str, int] = {"scheduled_procedure_step_id": 0x00400009, "requested_procedure_id": 0x00401001}
REQUESTED_TAGS = frozenset(REQUESTED.values())
MAX_REQUESTED = 16
FACT_ROWS = tuple((name, tag, vr) for name, (tag, vr) in FACTS.items())
WANTED = frozenset(
    {STUDY_UID, SERIES_UID, SOP_UID, SOP_CLASS, EXTENDED_OFFSET_TABLE, REQUEST_ATTRIBUTES}
    | {row[1] for row in FACT_ROWS}
)

# The VRs that Specific Character Set speaks of: PS3.5 6.1.2.3.
CHARACTER_SET_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
NUMBER_VRS = {"US": "H", "UL": "I", "SS": "h", "SL": "i"}
NOT_STORABLE = re.compile("[\0\ud800-\udfff]")
LEADING_ZERO = re.compile(r"(?:^|\.)0[0-9]")
PADDING = " \0"
DIGITS = re.compile("[+]?[0-9]{1,9}")
SPELLING = re.compile("^ISO.(?:(2022).)?IR.")

ESCAPE = b"\x1b"
ESCAPED = re.compile(rb"[^\x1b]+|\x1b[^\x1b]*")
# PS3.5 6.1.2.5.3: these, after an escape, bring the first character set back.
RESETTING = re.compile(rb"[\t\n\f\r]")


class Part10(NamedTuple):
    """What the file meta of a Part 10 file says; empty where it does not say."""

    prefix_length: int
    transfer_syntax: str
    sop_class: str
    sop_uid: str


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What a data set says of itself; header_length and frames count from the object's first byte."""

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    header_length: int
    facts: Facts = field(repr=False)
    frames: Frames
    warnings: tuple[str, ...] = ()


def prefix(sop_class: str, sop_uid: str, transfer_syntax: str) -> bytes:
    """Return our preamble and file meta: a pure function of these three (PS3.10 7.1).

    Raises Rejected(NO_USABLE_UID) for what is not a UID.
    """
    if not (is_uid(sop_class) and is_uid(sop_uid) and is_uid(transfer_syntax)):
        raise Rejected(Reason.NO_USABLE_UID.value)
    meta = (
        struct.pack("<HH2sxxI2s", META_GROUP, 0x0001, b"OB", 2, b"\x00\x01")
        + _meta_element(0x0002, b"UI", sop_class, "\0")
        + _meta_element(0x0003, b"UI", sop_uid, "\0")
        + _meta_element(0x0010, b"UI", transfer_syntax, "\0")
        + _meta_element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID, "\0")
        + _meta_element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, " ")
    )
    return PREAMBLE + MAGIC + struct.pack("<HH2sHI", META_GROUP, 0x0000, b"UL", 4, len(meta)) + meta


def _meta_element(element: int, vr: bytes, text: str, padding: str) -> bytes:
    value = (text + padding * (len(text) % 2)).encode("ascii")
    return META_ELEMENT.pack(META_GROUP, element, vr, len(value)) + value


def split_part10(buffer: Buffer) -> Part10:
    """Find where a Part 10 file's data set begins, and what its file meta says.

    File meta ends where its group length says or another group begins, whichever comes first.
    Raises Rejected(NOT_PART10, TRUNCATED_META or NO_TRANSFER_SYNTAX).
    """
    if bytes(buffer[len(PREAMBLE) : META_START]) != MAGIC:
        raise Rejected(Reason.NOT_PART10.value)
    position, stop, said = META_START, len(buffer), dict[int, str]()
    for _ in range(MAX_META_ELEMENTS):
        if position >= min(stop, META_START + MAX_META_BYTES):
            break
        group, element, start, length = _meta_header(buffer, position)
        if group != META_GROUP:
            break
        if element == 0 and length == 4:  # noqa: PLR2004 (a UL)
            stop = min(stop, start + 4 + int.from_bytes(bytes(buffer[start : start + 4]), "little"))
        said[element] = bytes(buffer[start : start + min(length, MAX_UID_BYTES)]).decode("latin-1").rstrip(PADDING)
        position = start + length
    if position > len(buffer):
        raise Rejected(Reason.TRUNCATED_META.value)
    transfer_syntax = said.get(0x0010, "")
    if not is_uid(transfer_syntax):
        raise Rejected(Reason.NO_TRANSFER_SYNTAX.value)
    return Part10(position, transfer_syntax, said.get(0x0002, ""), said.get(0x0003, ""))


def _meta_header(buffer: Buffer, position: int) -> tuple[int, int, int, int]:
    """Return group, element, start of value and length; some writers leave out the VR."""
    try:
        group, element, name, length = META_ELEMENT.unpack_from(buffer, position)
        if group != META_GROUP:
            return group, element, position, 0
        vr = name.decode("latin-1")
        if vr in LONG_VRS:
            return group, element, position + 12, struct.unpack_from("<I", buffer, position + 8)[0]
        if not name.isalpha():
            return group, element, position + 8, struct.unpack_from("<I", buffer, position + 4)[0]
    except struct.error:
        raise Rejected(Reason.TRUNCATED_META.value) from None
    return group, element, position + 8, length


def data_hasher(transfer_syntax: str) -> "hashlib._Hash":
    """Begin a data hash: feed it the data set's bytes."""
    return hashlib.sha256(transfer_syntax.encode() + b"\0")


def prefix_hash(prefix_bytes: Buffer) -> str:
    """Return the hash that covers what the data hash leaves out."""
    return hashlib.sha256(prefix_bytes).hexdigest()


def examine(dataset: Buffer, transfer_syntax: str, prefix_length: int, limits: ScanLimits = LIMITS) -> Examined:
    """Read what a data set says of itself; `prefix_length` is where it begins in its object.

    The header of a deflated data set is all of it: no byte of the object says where Pixel Data begins.
    Raises Rejected with a Reason.
    """
    header = scan(dataset, transfer_syntax, WANTED, limits)
    oddities = set(header.oddities)
    uids = [_uid(header, tag) for tag in (STUDY_UID, SERIES_UID, SOP_UID, SOP_CLASS)]
    if any(".0" in f".{uid}" and LEADING_ZERO.search(uid) for uid in uids):
        oddities.add(Oddity.LEADING_ZERO_IN_UID)
    facts = _facts(header, oddities)
    located = locate(header, transfer_syntax, _shape(facts), prefix_length)
    oddities |= located.oddities
    return Examined(
        study_uid=uids[0],
        series_uid=uids[1],
        sop_uid=uids[2],
        sop_class=uids[3],
        header_length=prefix_length + (len(dataset) if header.is_deflated else header.end),
        facts=facts,
        frames=located.frames,
        warnings=tuple(sorted(oddity.value for oddity in oddities)),
    )


def _uid(header: Header, tag: int) -> str:
    text = (header.raw(tag, MAX_UID_BYTES) or b"").decode("latin-1").rstrip(PADDING)
    if not is_uid(text):
        raise Rejected(Reason.NO_USABLE_UID.value)
    return text


def _shape(facts: Facts) -> Shape:
    count = facts.number_of_frames or ""
    return Shape(
        rows=facts.rows,
        columns=facts.columns,
        samples=facts.samples_per_pixel,
        bits_allocated=facts.bits_allocated,
        photometric_interpretation=facts.photometric_interpretation,
        count=int(count) if DIGITS.fullmatch(count) and int(count) > 0 else None,
    )


def _facts(header: Header, oddities: set[Oddity]) -> Facts:
    """Read the facts; what is odd is added to `oddities`.

    The hot path: nearly every value is short printable ASCII under the VR that it should have.
    """
    data, values, found = header.data, header.values, dict[str, Any]()
    for name, tag, vr in FACT_ROWS:
        value = values.get(tag)
        if value is None:
            continue
        found_vr, start, length = value
        if vr == "US":
            found[name] = _number(header, tag, vr, oddities)
        elif length <= MAX_TEXT_LENGTH and (found_vr == vr or not found_vr):
            text = _plain(data[start : start + length])
            found[name] = (
                _text(header, tag, vr, found.get("specific_character_set"), oddities) if text is None else text
            )
        else:
            found[name] = _text(header, tag, vr, found.get("specific_character_set"), oddities)
    if REQUEST_ATTRIBUTES in values:
        found |= _requested(header, found.get("specific_character_set"), oddities)
    if not _encodings(found.get("specific_character_set") or "").is_known:
        oddities.add(Oddity.UNKNOWN_CHARACTER_SET)
    return Facts(**found)


def _requested(header: Header, character_set: str | None, oddities: set[Oddity]) -> dict[str, str]:
    """Read the facts in the items of Request Attributes Sequence: a value of each item, joined by backslashes."""
    items = items_of(header, REQUEST_ATTRIBUTES, REQUESTED_TAGS)[:MAX_REQUESTED]
    texts = {
        name: [_requested_text(header, one, tag, character_set, oddities) for one in items]
        for name, tag in REQUESTED.items()
    }
    return {name: "\\".join(found) for name, found in texts.items() if any(found)}


def _requested_text(
    header: Header, item: dict[int, Value], tag: int, character_set: str | None, oddities: set[Oddity]
) -> str:
    if tag not in item:
        return ""
    _, start, length = item[tag]
    plain = _plain(header.data[start : start + min(length, MAX_TEXT_LENGTH)])
    return _text(replace(header, values=item), tag, "SH", character_set, oddities) if plain is None else plain


def _plain(raw: Buffer) -> str | None:
    """Read a single value of printable ASCII; None for any other, escape sequences among them."""
    try:
        text = str(raw, "ascii").strip(PADDING)
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() and "\\" not in text else None


def _number(header: Header, tag: int, vr: str, oddities: set[Oddity]) -> int | None:
    """Read an unsigned number that should be of this VR; None, with a warning, when it is none."""
    found_vr, start, length = header.values[tag]
    raw = bytes(header.data[start : start + min(length, MAX_UID_BYTES)])
    if found_vr == "US" and length == 2:  # noqa: PLR2004 (a US)
        return int.from_bytes(raw, "big" if header.order == ">" else "little")
    if found_vr not in {vr, ""}:
        oddities.add(Oddity.UNEXPECTED_VR)
    number = _parsed(raw, NUMBER_VRS.get(found_vr or vr), header.order)
    if number is None:
        oddities.add(Oddity.UNREADABLE_NUMBER)
    return number


def _parsed(raw: bytes, letter: str | None, order: str) -> int | None:
    """Read a binary number, or a text one without a letter; None when it is none, or fits no signed 32 bits."""
    number = -1
    text = raw.decode("latin-1").strip(PADDING)
    if letter and len(raw) >= struct.calcsize(order + letter):
        number = struct.unpack_from(order + letter, raw)[0]
    elif letter is None and DIGITS.fullmatch(text):
        number = int(text)
    return number if 0 <= number <= MAX_INT else None


def _text(header: Header, tag: int, vr: str, character_set: str | None, oddities: set[Oddity]) -> str:
    """Read a text that is not plain ASCII: decoded, its values trimmed, without what no store takes, and bounded."""
    found_vr, start, length = header.values[tag]
    raw = bytes(header.data[start : start + min(length, MAX_TEXT_BYTES)])
    if found_vr not in {vr, ""}:
        oddities.add(Oddity.UNEXPECTED_VR)
    if found_vr in NUMBER_VRS:
        number = _parsed(raw, NUMBER_VRS[found_vr], header.order)
        return "" if number is None else str(number)
    encodings = _encodings(character_set or "").names if vr in CHARACTER_SET_VRS else (charset.default_encoding,)
    text, is_decoded = _decoded(raw, encodings)
    if not is_decoded or (encodings == (charset.default_encoding,) and not raw.isascii()):
        oddities.add(Oddity.UNDECODABLE_TEXT)
    text = "\\".join(part.strip(PADDING) for part in NOT_STORABLE.sub("", text.rstrip(PADDING)).split("\\"))
    if len(text) > MAX_TEXT_LENGTH or length > MAX_TEXT_BYTES:
        oddities.add(Oddity.LONG_VALUE)
    return text[:MAX_TEXT_LENGTH]


class _Encodings(NamedTuple):
    """Python's names of a Specific Character Set's encodings, and whether every one was known."""

    names: tuple[str, ...]
    is_known: bool


@lru_cache(maxsize=256)
def _encodings(character_set: str) -> _Encodings:
    """Look up a Specific Character Set: PS3.3 C.12.1.1.2.

    What is not in the table counts as the default repertoire; the codecs of Python are not to be chosen by a sender.
    """
    terms = character_set.split("\\")
    first, *others = (_corrected(term) for term in terms)
    is_alone = first in charset.STAND_ALONE_ENCODINGS
    used = [first] if is_alone else [first, *(term for term in others if term not in charset.STAND_ALONE_ENCODINGS)]
    names = tuple(charset.python_encoding.get(term, charset.default_encoding) for term in used)
    return _Encodings(names, all(term in charset.python_encoding for term in terms) and len(used) == len(terms))


def _corrected(term: str) -> str:
    """Return the defined term that was meant: some writers spell its underscore or spaces otherwise."""
    return SPELLING.sub(lambda found: "ISO 2022 IR " if found[1] else "ISO_IR ", term)


def _decoded(raw: bytes, encodings: tuple[str, ...]) -> tuple[str, bool]:
    """Decode with code extensions (PS3.5 6.1.2.5); also say whether every byte was decoded."""
    pieces = [_piece(piece, encodings) for piece in ESCAPED.findall(raw)]
    return "".join(text for text, _ in pieces), all(is_decoded for _, is_decoded in pieces)


def _piece(raw: bytes, encodings: tuple[str, ...]) -> tuple[str, bool]:
    """Decode what follows one escape sequence, or none: in the first encoding when nothing better is known."""
    length = 4 if raw.startswith((b"\x1b$(", b"\x1b$)")) else 3
    encoding = charset.CODES_TO_ENCODINGS.get(raw[:length], encodings[0])
    try:
        if not raw.startswith(ESCAPE):
            return raw.decode(encodings[0]), True
        if encoding in charset.handled_encodings and encoding in encodings:
            return raw.decode(encoding), True
        if encoding in {*encodings, charset.default_encoding} and raw[:length] in charset.CODES_TO_ENCODINGS:
            extended, reset = _split_at_reset(raw[length:])
            return extended.decode(encoding) + reset.decode(encodings[0]), True
    except UnicodeError:
        pass
    return raw.decode(encodings[0], "replace"), False


def _split_at_reset(raw: bytes) -> tuple[bytes, bytes]:
    found = RESETTING.search(raw)
    end = found.start() if found else len(raw)
    return raw[:end], raw[end:]


def rebase(examined: Examined, difference: int) -> Examined:
    """Return the same data set's word behind another prefix, longer by so many bytes."""
    return replace(
        examined,
        header_length=examined.header_length + difference,
        frames=shift(examined.frames, difference),
    )


def inline_header(prefix_bytes: Buffer, dataset: Buffer, examined: Examined) -> bytes | None:
    """Return the header's bytes when they are few enough to travel in an event."""
    if examined.header_length > MAX_INLINE_HEADER_BYTES:
        return None
    return bytes(prefix_bytes) + bytes(dataset[: examined.header_length - len(prefix_bytes)])


def instance_stored(  # noqa: PLR0913 (what was found out at five places)
    identity: Identity,
    examined: Examined,
    envelope: Envelope,
    header: bytes | None,
    size_bytes: int,
    *,
    transfer_id: str | None = None,
) -> InstanceStored:
    """Make the event of an object that lies in the store under this identity with this envelope.

    A repeat names the transfer that carries it now; everything else, the event id too, is the stored object's.
    """
    transfer = transfer_id or envelope.transfer_id
    return InstanceStored(
        event_id=event_id("instance-stored", identity.tenant, identity.study_uid, identity.sop_uid, identity.data_hash),
        tenant=identity.tenant,
        occurred_at=envelope.stored_at,
        cause=(transfer,),
        study_uid=identity.study_uid,
        series_uid=identity.series_uid,
        sop_uid=identity.sop_uid,
        sop_class=examined.sop_class,
        transfer_syntax=envelope.transfer_syntax,
        object_key=identity.key,
        size_bytes=size_bytes,
        data_hash=identity.data_hash,
        prefix_hash=envelope.prefix_hash,
        prefix_length=envelope.prefix_length,
        header_length=examined.header_length,
        header=header,
        facts=examined.facts,
        frames=examined.frames,
        warnings=examined.warnings,
        origin=envelope.origin,
        transfer_id=transfer,
        calling_ae=envelope.calling_ae,
        called_ae=envelope.called_ae,
        received_at=envelope.received_at,
        stored_at=envelope.stored_at,
    )


def from_object(
    key: str, envelope: Envelope, whole: Buffer, *, transfer_id: str | None = None, limits: ScanLimits = LIMITS
) -> InstanceStored:
    """Rebuild an object's event from its bytes, all of them, and its envelope: the one that its storing made.

    Raises ValueError for a key that is not an instance's, Rejected for bytes that are no instance.
    """
    identity = Identity.of(key)
    with memoryview(whole) as view, view[envelope.prefix_length :] as dataset:
        examined = examine(dataset, envelope.transfer_syntax, envelope.prefix_length, limits)
        header = inline_header(view[: envelope.prefix_length], dataset, examined)
    return instance_stored(identity, examined, envelope, header, len(whole), transfer_id=transfer_id)
