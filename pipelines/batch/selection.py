"""The part of the object store that a batch pipeline works on: a tenant, a study, a time, or all of it."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipelines.batch.spans import SpanEnd, beginning, end
from schemas.objects import TENANT, is_uid

# The store's dates are cut to the second.
SECOND = timedelta(seconds=1)
SPAN = ("stored_from", "stored_to")


@dataclass(frozen=True)
class Selection:
    """The studies that are worked on; None is no condition.

    A study is in the time from `stored_from` until `stored_to` (exclusive) if the store took one of its objects then: a
    new one, or one that was replaced or moved. Such a study is worked on as a whole.
    """

    tenant: str | None = None
    study_uid: str | None = None
    stored_from: datetime | None = None
    stored_to: datetime | None = None

    @property
    def has_span(self) -> bool:
        """True if the selection has a beginning or an end."""
        return self.stored_from is not None or self.stored_to is not None

    def has_moment(self, modified_at: datetime | None) -> bool:
        """True if an object that the store took at this moment, cut to the second, may be in the time of the selection."""
        if not self.has_span or modified_at is None:
            return True
        starts = self.stored_from is None or modified_at + SECOND > self.stored_from
        return starts and (self.stored_to is None or modified_at < self.stored_to)

    def as_json(self) -> dict[str, str]:
        """Return the conditions by their names, as values of JSON."""
        return {name: str(value) for name, value in self.__dict__.items() if value is not None}


def add_selection(parser: ArgumentParser) -> None:
    """Add the arguments that select a part of the store."""
    parser.add_argument("--tenant", type=tenant_name, help="only of this tenant (default: all tenants)")
    parser.add_argument("--study", type=dicom_uid, metavar="UID", help="only this study, by its Study Instance UID")
    span = "only studies of which the store took an object {} this time; a date is a whole day"
    for name, read, words in (("from", beginning, "from"), ("to", end, "before the end of")):
        told = span.format(words)
        parser.add_argument(f"--stored-{name}", action=SpanEnd, const=SPAN, type=read, metavar="TIME", help=told)


def selection_of(options: Namespace) -> Selection:
    """Return the selection that the arguments name."""
    return Selection(options.tenant, options.study, options.stored_from, options.stored_to)


def tenant_name(text: str) -> str:
    """Read the name of a tenant; raises ArgumentTypeError."""
    if not TENANT.fullmatch(text):
        raise ArgumentTypeError(f"{text!r} should be 1 to 32 of a-z, 0-9 and -")
    return text


def dicom_uid(text: str) -> str:
    """Read a UID; raises ArgumentTypeError."""
    if not is_uid(text):
        raise ArgumentTypeError(f"{text!r} should be a UID: numbers with dots between them, 64 characters at most")
    return text
