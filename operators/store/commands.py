"""Commands as objects beside their study."""

import base64
from typing import Any

from operators.store.documents import Documents
from schemas.events import StudyCommand
from schemas.objects import command_key


def _key_of(command: StudyCommand) -> str:
    return command_key(command.tenant, command.study_uid, command.event_id)


def _base64(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


COMMANDS = Documents(
    StudyCommand,
    _key_of,
    "command-unreadable",
    # More than the event of the largest instance in base64, and all else.
    most_bytes=2 * 2**20,
    written=_base64,
    read={"instance": _bytes},
)
