"""Commands as objects: the JSON of the whole event, which a person can read and from which the event is published."""

import base64
from contextlib import aclosing
from dataclasses import fields
from datetime import datetime
from typing import Any

import orjson

from operators.errors import Rejected
from operators.store.checksum import crc32c_of
from operators.store.ports import ObjectStore, PlainUpload
from schemas.codec import encode
from schemas.events import StudyCommand
from schemas.objects import Bucket, command_key

UNREADABLE = "command-unreadable"
# More than the event of the largest instance in base64, and all else.
MOST_BYTES = 2 * 2**20
FIELDS = frozenset(field.name for field in fields(StudyCommand))


def upload_of(command: StudyCommand) -> PlainUpload:
    """Return the object of a command."""
    data = document(command)
    key = command_key(command.tenant, command.study_uid, command.event_id)
    return PlainUpload(key, (data,), len(data), crc32c_of(data))


def document(command: StudyCommand) -> bytes:
    """Return the command as JSON: its fields by their names, without those that it does not have; bytes in base64."""
    known = {name: value for name, value in command.__dict__.items() if value is not None}
    return orjson.dumps(known, default=_base64, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def command_in(key: str, data: bytes) -> StudyCommand:
    """Return the command in an object; fields that a later release has added are left out.

    Raises Rejected for an object that is no command, or not the one of this key.
    """
    try:
        command = _command(orjson.loads(data))
        # Its event can be published, and is that of the key.
        is_whole = encode(command) and command_key(command.tenant, command.study_uid, command.event_id) == key
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Rejected(UNREADABLE) from error
    if not is_whole:
        raise Rejected(UNREADABLE)
    return command


async def read_command(store: ObjectStore, bucket: Bucket, key: str) -> StudyCommand | None:
    """Return the command of this key, None if there is no such object; raises Rejected and Unavailable."""
    try:
        async with aclosing(store.read(bucket, key, 0, MOST_BYTES)) as chunks:
            data = b"".join([chunk async for chunk in chunks])
    except KeyError:
        return None
    return command_in(key, data)


def _command(values: dict[str, Any]) -> StudyCommand:
    known = {name: value for name, value in values.items() if name in FIELDS}
    known |= {"occurred_at": datetime.fromisoformat(known["occurred_at"]), "cause": tuple(known["cause"])}
    if "instance" in known:
        known["instance"] = base64.b64decode(known["instance"], validate=True)
    return StudyCommand(**known)


def _base64(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError
