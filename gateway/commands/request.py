"""A request for something to be done with a study, and what is wrong with one that cannot be carried out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args
from uuid import UUID

from gateway import asking
from gateway.asking import Rule
from schemas.events import Action, StudyCommand
from schemas.objects import DATA_HASH, is_uid

# The largest number of Avro's int.
MOST_INSTANCES = 2**31 - 1
ACTIONS: tuple[str, ...] = get_args(Action)
# The arguments of each action that has some, by their names in a request.
ARGUMENTS: Mapping[str, frozenset[str]] = {"expect": frozenset({"count"}), "choose": frozenset({"instance", "content"})}


@dataclass(frozen=True, kw_only=True)
class CommandRequest:
    """Who wants what to be done with which study, and why; an empty id asks for a new one.

    `count` is of expect: how many instances. `instance` and `content` are of choose: a SOP Instance UID and a data hash.
    """

    tenant: str
    study_uid: str
    action: str
    who: str
    why: str = field(repr=False)
    command_id: str = ""
    count: int | None = None
    instance: str | None = None
    content: str | None = None

    def is_of(self, command: StudyCommand) -> bool:
        """True if the command was made of this request, whatever its id."""
        asked = (self.action, self.who, self.why, self.count, self.instance, self.content)
        arguments = (command.expected_instances, command.sop_uid, command.data_hash)
        return asked == (command.action, command.who, command.why, *arguments)


def check(request: CommandRequest) -> None:
    """Raise Problem for a request that can never be carried out."""
    asking.check(request, RULES)


def _has_its_arguments(request: CommandRequest) -> bool:
    given = {name for name in ("count", "instance", "content") if getattr(request, name) is not None}
    return given == ARGUMENTS.get(request.action, frozenset())


def is_uuid(text: str) -> bool:
    """True if a text is a UUID as this archive writes one."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _is_count(count: object) -> bool:
    return count is None or (type(count) is int and 0 < count <= MOST_INSTANCES)


RULES: tuple[Rule[CommandRequest], ...] = (
    ("bad-uid", "a study is named by its UID: digits and dots, at most 64 characters", lambda it: is_uid(it.study_uid)),
    ("bad-action", f"an action is one of {', '.join(ACTIONS)}", lambda it: it.action in ACTIONS),
    ("bad-id", "an id is a UUID with small letters", lambda it: not it.command_id or is_uuid(it.command_id)),
    ("arguments", "expect has a count; choose has an instance and a content; no other has any", _has_its_arguments),
    ("bad-count", f"a count is a whole number from 1 to {MOST_INSTANCES}", lambda it: _is_count(it.count)),
    (
        "bad-instance",
        "an instance is named by its UID: digits and dots, at most 64 characters",
        lambda it: it.instance is None or is_uid(it.instance),
    ),
    (
        "bad-content",
        "a content is named by its data hash: 64 of 0-9 and a-f",
        lambda it: it.content is None or DATA_HASH.fullmatch(it.content) is not None,
    ),
)
