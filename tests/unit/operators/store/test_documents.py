"""The object of an event has all that the event has, and no other object is taken for it."""

import asyncio
from dataclasses import replace

import pytest

from operators.connectors.memory.stores import MemoryObjectStore
from operators.errors import Rejected
from operators.store.documents import Documents
from schemas.events import StudyCataloged
from schemas.objects import Bucket
from tests.support.worlds.policies import SETTLED_AT

CATALOGED = StudyCataloged(
    event_id="2c9dbb2c-61a3-5b53-9a0c-6a1a1f1f0c11",
    tenant="local",
    occurred_at=SETTLED_AT,
    cause=("a", "b"),
    study_uid="1.2",
    version=7,
)
DOCUMENTS = Documents(StudyCataloged, lambda event: event.study_uid, "unreadable", 1000, written=str)


def test_an_event_is_read_back_from_its_object() -> None:
    store = MemoryObjectStore()

    asyncio.run(store.put(Bucket.HOT, DOCUMENTS.upload_of(CATALOGED)))

    assert asyncio.run(DOCUMENTS.find(store, "1.2")) == CATALOGED
    assert asyncio.run(DOCUMENTS.find(store, "1.3")) is None


def test_an_object_under_another_key_is_rejected() -> None:
    with pytest.raises(Rejected, match="unreadable"):
        DOCUMENTS.event_in("1.3", DOCUMENTS.document(CATALOGED))


def test_of_an_object_that_is_too_long_only_the_beginning_is_read() -> None:
    store, long = MemoryObjectStore(), replace(CATALOGED, cause=("a" * 1000,))
    asyncio.run(store.put(Bucket.HOT, DOCUMENTS.upload_of(long)))

    with pytest.raises(Rejected, match="unreadable"):
        asyncio.run(DOCUMENTS.find(store, "1.2"))
