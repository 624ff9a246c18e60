"""The way of a document through the outbox: its intent first, then its object and its event, then nothing is left to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.intake.failpoints import Reached
from gateway.intake.outbox.ledger import DocumentIntent
from gateway.intake.outbox.outbox import Outbox
from operators.errors import Unavailable


@contextmanager
def intended(outbox: Outbox, kind: str, key: str, reached: Reached) -> Iterator[None]:
    """Record that a document is about to be stored; the block stores it, and publishes its event.

    When the block fails the outbox publishes what is stored. Raises Unavailable when the disk fails or is full.
    """
    intent = _intend(outbox, kind, key)
    reached("after_intent")
    try:
        yield
    except BaseException:
        outbox.failed(intent)
        raise
    reached("after_event")
    outbox.done(intent)
    reached("after_done")


def _intend(outbox: Outbox, kind: str, key: str) -> DocumentIntent:
    try:
        return outbox.intend_document(kind, key)
    except OSError as error:
        raise Unavailable("outbox") from error
