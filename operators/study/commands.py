"""What commands change of when a study is due.

`settle` closes the open window, `expect` says how many instances will be in it. `delete`, `restore` and `choose` change
what the catalog shows: they make the study due at once, or count into the window that is open. The others change nothing
here. A command that came before, or is older than the last one of its kind, changes nothing either, as long as the study
has state: `limit_s` after its last command at least.
"""

from dataclasses import replace

from operators.errors import Rejected
from operators.stream.step import Arrival
from operators.study.deadlines import StudyClock
from operators.study.state import CountedCommand, Expectation, HeardCommands, Rank, WatchedStudy
from schemas.events import Action, StudyCommand

# The catalog shows something else after each of these, whatever came after it.
CHANGES_SHOWN: frozenset[Action] = frozenset({"delete", "restore", "choose"})
# Only the latest of each of these counts.
LATEST_COUNTS: frozenset[Action] = frozenset({"settle", "expect"})


def changes_dues(study: WatchedStudy | None, seen: bytes | None, command: StudyCommand) -> bool:
    """True if a command changes when its study is due. Raises Rejected for an expectation of no instance."""
    if command.action == "expect" and (command.expected_instances or 0) < 1:
        raise Rejected("expects-no-instance")
    if seen is not None or command.action not in CHANGES_SHOWN | LATEST_COUNTS:
        return False
    latest = study.commands.latest.get(command.action) if study and study.commands else None
    return latest is None or _rank(command) > latest


def counted(command: StudyCommand, arrival: Arrival) -> CountedCommand:
    """Return a command as a due counts it."""
    return CountedCommand(partition=arrival.partition, offset=arrival.offset, cause=command.event_id)


def with_command(study: WatchedStudy, command: StudyCommand, counts: CountedCommand, clock: StudyClock) -> WatchedStudy:
    """Return the study after a command that changes when it is due; the due of an open window counts it."""
    latest = study.commands.latest if study.commands else {}
    if command.action in LATEST_COUNTS:
        latest = {**latest, command.action: _rank(command)}
    expectation = study.expectation
    if command.action == "expect" and command.expected_instances:
        expectation = Expectation(heard_at=clock.now, instances=command.expected_instances, command=counts)
    window = study.window and replace(study.window, command=counts)
    return replace(
        study, window=window, expectation=expectation, commands=HeardCommands(heard_at=clock.now, latest=latest)
    )


def _rank(command: StudyCommand) -> Rank:
    return command.occurred_at.timestamp(), command.event_id
