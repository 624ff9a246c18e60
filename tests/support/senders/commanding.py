"""A client of the door of commands, which gives each command an id of its own and sends it until it is answered."""

import time
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

AGAIN_S = 0.5
GIVEN = (httpx.codes.OK, httpx.codes.CREATED)


@dataclass(frozen=True)
class Given:
    """A command that was carried out: its id, its action, and the statuses of all answers (0: none came)."""

    command_id: str
    action: str
    statuses: tuple[int, ...]


def give(origin: str, study_uid: str, action: str, *, patience_s: float = 300.0, **arguments: Any) -> Given:
    """Send a command, with the same id again while the answer is 503 or lost; return it once it is carried out."""
    command_id, statuses = str(uuid4()), list[int]()
    body = {"id": command_id, "action": action, "why": "a test of kills", **arguments}
    until = time.monotonic() + patience_s
    while True:
        status, told = post(f"{origin}/v1/studies/{study_uid}/commands", body)
        statuses.append(status)
        if status in GIVEN:
            return Given(command_id, action, tuple(statuses))
        assert status in (0, httpx.codes.SERVICE_UNAVAILABLE), f"{action} of {study_uid}: {status} {told}"
        assert time.monotonic() < until, f"{action} of {study_uid} was never answered"
        time.sleep(AGAIN_S)


def post(url: str, body: dict[str, Any]) -> tuple[int, str]:
    """Send a command once; return the status and text of the answer, 0 without one."""
    try:
        answer = httpx.post(url, json=body, timeout=60)
    except httpx.TransportError as error:
        return 0, str(error)
    return answer.status_code, answer.text
