"""Every outcome of an instance, with the status code that its sender gets over DIMSE and STOW-RS."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from operators.dicom.reasons import Oddity, Reason
from operators.dimse.commands import COMMENT_LENGTH
from operators.errors import Rejected, Unavailable


@dataclass(frozen=True)
class Status:
    """One outcome: its code in a C-STORE response (PS3.4 B.2.3), its name in metrics, and what happened in words.

    The comment is an Error Comment (0000,0902), which the sender may log: at most 64 characters, never a value of the
    data. Two statuses that differ in it alone are equal.
    """

    code: int
    outcome: str
    comment: str = field(default="", compare=False)

    @property
    def meaning(self) -> str:
        """Return the standard's words for this code."""
        return " ".join(part for part in STORAGE_SERVICE_CLASS_STATUS[self.code] if part)


STORED = Status(0x0000, "stored")
STORED_ODD = Status(0xB007, "stored-odd")
# The instance is kept beside other content of its UIDs, which is shown: it has no address of its own.
NOT_SHOWN = Status(0xB007, "stored-aside", "stored, but other content of this instance is shown")
OUT_OF_RESOURCES = Status(0xA700, "unavailable", "not stored, try again later")
MISMATCH = Status(0xA900, "mismatch", "quarantined: is not the instance that was named")
CANNOT_UNDERSTAND = Status(0xC000, "unreadable", "quarantined: data set cannot be read")
TOO_LARGE = Status(0xC001, "too-large", "larger than this archive accepts")
OTHER_CLASS = Status(0x0122, "other-class", "SOP class was not negotiated for this context")
QUARANTINE_FULL = Status(0xC005, "quarantine-full", "cannot be read, and the quarantine is full")
FAILED = Status(0x0110, "failed", "an error inside the archive, which its log names")
# Only STOW-RS uses these: PS3.18 table I.2-2 leaves the last digits to the archive.
OTHER_STUDY = Status(0xA901, "other-study", "data set is not of the study in the address")
PART_TYPE = Status(0xC002, "part-type", "part is not application/dicom")
PART_LENGTH = Status(0xC003, "part-length", "part is longer or shorter than its Content-Length")
BROKEN_OFF = Status(0xC004, "broken-off", "request is no multipart body from here on, or exceeds a limit")

STATUSES = (
    STORED,
    STORED_ODD,
    NOT_SHOWN,
    OUT_OF_RESOURCES,
    MISMATCH,
    CANNOT_UNDERSTAND,
    TOO_LARGE,
    OTHER_CLASS,
    QUARANTINE_FULL,
    FAILED,
)

# The reasons of rejection with a status of their own; every other reason means CANNOT_UNDERSTAND.
REASONS = {
    "sop-class-mismatch": MISMATCH,
    "sop-uid-mismatch": MISMATCH,
    "too-large": TOO_LARGE,
    "quarantine-full": QUARANTINE_FULL,
    "other-class": OTHER_CLASS,
    "other-study": OTHER_STUDY,
    "part-type": PART_TYPE,
    "part-length": PART_LENGTH,
}

# Why an instance is in quarantine, in the sender's words; other reasons have the comment of their status.
QUARANTINED: dict[str, str] = {
    "sop-class-mismatch": "data set is of another SOP class than named",
    "sop-uid-mismatch": "data set is another instance than named",
    Reason.NOT_PART10: "no DICOM file, lacks DICM at byte 128",
    Reason.NO_TRANSFER_SYNTAX: "file meta has no transfer syntax",
    Reason.TRUNCATED_META: "file meta is cut short",
    Reason.TRUNCATED_HEADER: "an element before the pixels is cut short",
    Reason.BAD_SEQUENCE: "a sequence is malformed",
    Reason.BAD_DEFLATE: "deflated data set cannot be inflated",
    Reason.TOO_INFLATED: "deflated data set becomes too large",
    Reason.TOO_DEEP: "sequences are nested too deeply",
    Reason.TOO_MANY_ITEMS: "sequences have too many items",
    Reason.TOO_MANY_ELEMENTS: "data set has too many elements",
    Reason.NO_USABLE_UID: "a UID, of study to instance, is unusable",
}
# Why an instance is not stored now, by what `Unavailable` names, or by the part of that before its first hyphen.
NOT_STORED = {
    "store": "the object store fails",
    "store-object-inspected": "first its stored object is inspected",
    "broker": "the event broker fails",
    "outbox": "a disk of the gateway is full or fails",
    "spool": "no memory or disk space is free",
    "slow": "store or broker are too slow",
}

# Each reason of `instance_refused`, in a sentence for those who run the archive: CONFORMANCE.md has this table.
MEANINGS: dict[str, str] = {
    "sop-class-mismatch": "The data set is of another SOP class than the C-STORE command or the file meta says.",
    "sop-uid-mismatch": "The data set has another SOP Instance UID than the C-STORE command says.",
    Reason.NOT_PART10: "The part of a STOW-RS request is no DICOM file: it lacks the word DICM at byte 128.",
    Reason.NO_TRANSFER_SYNTAX: "The file meta names no transfer syntax, so nobody knows how the data set is written.",
    Reason.TRUNCATED_META: "The file ends before its file meta does.",
    Reason.TRUNCATED_HEADER: "The data set ends within an element before Pixel Data: it was cut, or a length in it is wrong.",
    Reason.BAD_SEQUENCE: "A sequence or an item does not end where its length or its delimiter says.",
    Reason.BAD_DEFLATE: "The data set is of a deflated transfer syntax, and is no deflated stream.",
    Reason.TOO_INFLATED: "A deflated data set becomes larger than 512 MiB, or than 100 times its size.",
    Reason.TOO_DEEP: "Sequences are nested in more than 64 levels.",
    Reason.TOO_MANY_ITEMS: "All sequences together have more than 100,000 items.",
    Reason.TOO_MANY_ELEMENTS: "The data set has more than 200,000 elements.",
    Reason.NO_USABLE_UID: (
        "The study's, the series', the instance's or the SOP class's UID is missing, empty, longer than 64 characters or no"
        " numbers between dots; the Error Comment says which. A file that was cut between two elements, before its UIDs,"
        " looks like one without them."
    ),
    "other-class": "The C-STORE command names another SOP class than its presentation context was negotiated for.",
    "too-large": "The instance is larger than the archive accepts.",
    "quarantine-full": "The instance should be kept in quarantine, and the tenant's quota there is used up.",
    "other-study": "The data set is not of the study in the address of the STOW-RS request.",
    "part-type": "The part of a STOW-RS request is not of the type application/dicom, or is encoded.",
    "part-length": "The part of a STOW-RS request is longer or shorter than its Content-Length.",
    "unexpected": "An error inside the archive, over STOW-RS; the log has its traceback.",
    "store": "The object store fails; the same with a hyphen and a detail, such as `store-checksum`. Sent again, it may be stored.",
    "store-object-inspected": "A large instance came again, and its stored object is inspected first. Send it again.",
    "broker": "The event broker fails; the same with a hyphen and a detail. Sent again, it may be stored.",
    "outbox": "A disk of the gateway is full or fails. Sent again, it may be stored.",
    "spool": "No memory or disk space is free for the incoming instance. Sent again, it may be stored.",
    "slow": "The store or the broker was too slow. Sent again, it may be stored.",
}

# The oddities that a sender is warned of, by B007: all but those of text, which is kept as sent and shown as far as it
# can be decoded. PS3.4 B.2.3: a warning means stored, and no sender sends again for one.
ODDITIES = frozenset(Oddity) - {Oddity.UNKNOWN_CHARACTER_SET, Oddity.UNDECODABLE_TEXT}


def of_rejected(error: Rejected) -> Status:
    """Return the status of an instance that can never be stored, with the reason as its comment."""
    status, words = REASONS.get(error.reason, CANNOT_UNDERSTAND), error.told or QUARANTINED.get(error.reason)
    return replace(status, comment=f"quarantined: {words}") if words else status


def of_unavailable(error: Unavailable) -> Status:
    """Return the status of an instance that may be stored when it is sent again, with the reason as its comment."""
    words = NOT_STORED.get(error.what) or NOT_STORED.get(error.what.partition("-")[0])
    return replace(OUT_OF_RESOURCES, comment=f"not stored, send again: {words}") if words else OUT_OF_RESOURCES


def of_stored(warnings: Iterable[str], *, is_shown: bool = True) -> Status:
    """Return the status of a stored instance: B007, with the oddities as its comment, when its sender is warned."""
    if not is_shown:
        return NOT_SHOWN
    told = sorted(ODDITIES.intersection(warnings))
    return replace(STORED_ODD, comment=f"stored, but: {', '.join(told)}"[:COMMENT_LENGTH]) if told else STORED
