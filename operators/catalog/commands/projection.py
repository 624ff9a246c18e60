"""The rows that a command makes."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from operators.catalog.projection import StorableInstance, check_identifiers, storable_instance
from operators.catalog.rows import CommandRow, DecisionRow, StudyKey
from operators.errors import Rejected
from schemas.codec import NotAnEvent, decode
from schemas.events import Action, InstanceStored, StudyCommand

# The actions that decide about a study: the subject of the decision, and if it is in force afterwards.
DECIDES: dict[Action, tuple[str, bool]] = {
    "delete": ("deletion", True),
    "restore": ("deletion", False),
    "hold": ("hold", True),
    "unhold": ("hold", False),
}
ARGUMENTS = ("expected_instances", "sop_uid", "data_hash")


@dataclass(frozen=True)
class StorableCommand:
    """A command that arrived: its row, the decision that it makes, and the instance that it chooses, if any."""

    row: CommandRow
    decision: DecisionRow | None = None
    chosen: StorableInstance | None = None

    @property
    def study_key(self) -> StudyKey:
        """Return the primary key of its study's row."""
        return StudyKey(self.row.tenant, self.row.study_uid)


def storable_command(event: StudyCommand) -> StorableCommand:
    """Return the rows of a command; raises Rejected for a choice of no content, or of another instance's.

    Raises UnknownSchema for a chosen instance of a newer writer.
    """
    row = CommandRow(
        **_names(event),
        action=event.action,
        who=event.who,
        why=event.why,
        arguments={name: value for name in ARGUMENTS if (value := getattr(event, name)) is not None},
    )
    if event.action == "choose":
        return _choice(event, row)
    if event.action not in DECIDES:
        return StorableCommand(row)
    subject, in_force = DECIDES[event.action]
    return StorableCommand(row, DecisionRow(**_names(event), subject=subject, in_force=in_force))


def chosen_instance(packed: bytes) -> StorableInstance:
    """Return the instance that a choice names, from its packed event; raises Rejected when it cannot be a row."""
    try:
        event = decode(packed)
    except NotAnEvent:
        raise Rejected("not-an-instance") from None
    if not isinstance(event, InstanceStored):
        raise Rejected("not-an-instance")
    check_identifiers(event)
    return storable_instance(event)


def _choice(event: StudyCommand, row: CommandRow) -> StorableCommand:
    if event.sop_uid is None or event.data_hash is None or event.instance is None:
        raise Rejected("choice-without-content")
    chosen = chosen_instance(event.instance)
    if chosen.key != (event.tenant, event.study_uid, event.sop_uid) or chosen.event.data_hash != event.data_hash:
        raise Rejected("choice-of-another-content")
    decision = DecisionRow(
        **_names(event),
        subject="choice",
        sop_uid=event.sop_uid,
        data_hash=event.data_hash,
        instance=event.instance,
    )
    return StorableCommand(row, decision, chosen)


def _names(event: StudyCommand) -> dict[str, Any]:
    return {
        "tenant": event.tenant,
        "study_uid": event.study_uid,
        "command_id": UUID(event.event_id),
        "occurred_at": event.occurred_at,
    }
