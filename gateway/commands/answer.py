"""The answer to a command, the same over REST and on the command line."""

from typing import Any

from gateway.commands.giving import GivenCommand


def answer(given: GivenCommand) -> dict[str, Any]:
    """Return what became of a request, by the names that a request has; arguments that it does not have are left out.

    The reason is left out too: whoever has asked knows it.
    """
    command = given.command
    values = {
        "id": command.event_id,
        "tenant": command.tenant,
        "study": command.study_uid,
        "action": command.action,
        "who": command.who,
        "occurred_at": command.occurred_at.isoformat(timespec="microseconds"),
        "count": command.expected_instances,
        "instance": command.sop_uid,
        "content": command.data_hash,
        "repeat": given.is_repeat,
        "note": given.note or None,
    }
    return {name: value for name, value in values.items() if value is not None}
