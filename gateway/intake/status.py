"""Every outcome of an instance, with the status code that its sender gets over DIMSE and STOW-RS."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from operators.dicom.reasons import Oddity
from operators.dimse.commands import COMMENT_LENGTH
from operators.errors import Rejected


@dataclass(frozen=True)
class Status:
    """One outcome: its code in a C-STORE response (PS3.4 B.2.3), its name in metrics, a comment that the sender may log."""

    code: int
    outcome: str
    comment: str = ""

    @property
    def meaning(self) -> str:
        """Return the standard's words for this code."""
        return " ".join(part for part in STORAGE_SERVICE_CLASS_STATUS[self.code] if part)


STORED = Status(0x0000, "stored")
STORED_ODD = Status(0xB007, "stored-odd")
# The instance is kept beside other content of its UIDs, which is shown: it has no address of its own.
NOT_SHOWN = Status(0xB007, "stored-aside", "stored, but other content of this instance is shown")
OUT_OF_RESOURCES = Status(0xA700, "unavailable", "not stored, try again later")
MISMATCH = Status(0xA900, "mismatch", "data set and command name different instances")
CANNOT_UNDERSTAND = Status(0xC000, "unreadable", "data set cannot be read, and is in quarantine")
TOO_LARGE = Status(0xC001, "too-large", "larger than this archive accepts")
OTHER_CLASS = Status(0x0122, "other-class", "SOP class was not negotiated for this context")
QUARANTINE_FULL = Status(0xC005, "quarantine-full", "cannot be read, and the quarantine is full")
FAILED = Status(0x0110, "failed", "an error inside the archive")
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


# The oddities that a sender is warned of, by B007: all but those of text, which is kept as sent and shown as far as it
# can be decoded. PS3.4 B.2.3: a warning means stored, and no sender sends again for one.
ODDITIES = frozenset(Oddity) - {Oddity.UNKNOWN_CHARACTER_SET, Oddity.UNDECODABLE_TEXT}


def of_rejected(error: Rejected) -> Status:
    """Return the status of an instance that can never be stored."""
    return REASONS.get(error.reason, CANNOT_UNDERSTAND)


def of_stored(warnings: Iterable[str], *, is_shown: bool = True) -> Status:
    """Return the status of a stored instance: B007, with the oddities as its comment, when its sender is warned."""
    if not is_shown:
        return NOT_SHOWN
    told = sorted(ODDITIES.intersection(warnings))
    return replace(STORED_ODD, comment=f"stored, but: {', '.join(told)}"[:COMMENT_LENGTH]) if told else STORED
