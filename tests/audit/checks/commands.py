"""Checks of commands: what was chosen last is shown, and commands and dues are kept as their events say."""

from collections import defaultdict
from itertools import chain, dropwhile

from tests.audit.checks.decisions import rejected, unlike_object
from tests.audit.finding import Finding, Findings
from tests.audit.snapshot import Snapshot, Study


def unchosen(snapshot: Snapshot) -> Findings:
    """Find instances that show another content than the one that was chosen last (I16)."""
    shown = {row.name: row.data_hash for row in snapshot.rows}
    for name, data_hash in snapshot.chosen.items():
        if shown.get(name) != data_hash:
            yield Finding(str(name), "not the content that was chosen last")


def unrecorded(snapshot: Snapshot) -> Findings:
    """Find commands and dues whose rows and events disagree (I16)."""
    commands, rows = frozenset(snapshot.commands), frozenset(snapshot.command_rows)
    dead = rejected(snapshot)
    for command in commands - rows:
        if (command.study, command.event_id) not in dead:
            yield Finding(str(command), "a command without its row")
    yield from unlike_object(snapshot)
    for study in {study for study, _ in dues_without_row(snapshot)}:
        yield Finding(str(study), "a due without its row")
    made: dict[tuple[Study, str], int] = {}
    for revision in sorted(snapshot.revisions, key=lambda one: one.number):
        made.setdefault((revision.study, revision.due), revision.number)
    for due, number in snapshot.due_rows.items():
        if number != made.get(due):
            yield Finding(str(due[0]), "a due's row does not name its first revision")


def dues_without_row(snapshot: Snapshot) -> frozenset[tuple[Study, str]]:
    """Return the dues that lack their row; an earlier release kept none of those that came before a study's first row."""
    of_study: dict[Study, list[tuple[Study, str]]] = defaultdict(list)
    for due in snapshot.dues:
        of_study[due[0]].append(due)
    expected = (dropwhile(lambda due: due not in snapshot.due_rows, dues) for dues in of_study.values())
    return frozenset(chain.from_iterable(expected)) - snapshot.due_rows.keys()
