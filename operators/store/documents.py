"""Events as objects that a person can read: the JSON of the whole event, from which it is published."""

from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Generic, TypeVar

import orjson

from operators.errors import Rejected
from operators.store.checksum import crc32c_of
from operators.store.ports import ObjectStore, PlainUpload
from schemas.codec import encode
from schemas.events import Event
from schemas.objects import Bucket

T = TypeVar("T", bound=Event)
# How the fields of every event are read.
COMMON: Mapping[str, Callable[[Any], Any]] = {"occurred_at": datetime.fromisoformat, "cause": tuple}
LAYOUT = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATACLASS


@dataclass(frozen=True)
class Documents(Generic[T]):
    """The objects of one kind of event, which lie in the hot bucket.

    `key_of` returns the key of an event's object. `written` and `read` turn what JSON does not have into a value of
    JSON, and the field of a name back. Rejected has `unreadable` as its reason.
    """

    kind: type[T]
    key_of: Callable[[T], str]
    unreadable: str
    most_bytes: int
    written: Callable[[Any], Any]
    read: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)

    def upload_of(self, event: T) -> PlainUpload:
        """Return the object of an event."""
        data = self.document(event)
        return PlainUpload(self.key_of(event), (data,), len(data), crc32c_of(data))

    def document(self, event: T) -> bytes:
        """Return the event as JSON: its fields by their names, without those that it does not have."""
        return orjson.dumps(present(event), default=self.written, option=LAYOUT)

    def event_in(self, key: str, data: bytes) -> T:
        """Return the event in an object; fields that a later release has added are left out.

        Raises Rejected for an object that is no such event, or not the one of this key.
        """
        try:
            event = self._event(orjson.loads(data))
            # It can be published, and is that of the key.
            is_whole = encode(event) and self.key_of(event) == key
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise Rejected(self.unreadable) from error
        if not is_whole:
            raise Rejected(self.unreadable)
        return event

    async def find(self, store: ObjectStore, key: str) -> T | None:
        """Return the event of this key, None if there is no such object; raises Rejected and Unavailable."""
        try:
            async with aclosing(store.read(Bucket.HOT, key, 0, self.most_bytes)) as chunks:
                data = b"".join([chunk async for chunk in chunks])
        except KeyError:
            return None
        return self.event_in(key, data)

    def _event(self, values: dict[str, Any]) -> T:
        names, read = [each.name for each in fields(self.kind)], {**COMMON, **self.read}
        known = {name: values[name] for name in names if name in values}
        return self.kind(**{name: read[name](value) if name in read else value for name, value in known.items()})


def present(record: Any) -> dict[str, Any]:
    """Return the fields that a dataclass has, by their names."""
    return {name: value for name, value in record.__dict__.items() if value is not None}
