"""Checks of what people decided, by the objects of commands and policies: these are the record, as instances are theirs."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.audit.finding import Finding, Findings
from tests.audit.snapshot import Decision, Snapshot, Study

COMMANDS, POLICIES = "_commands", "_policies"
# What a command decides: the subject, and if it is in force afterwards.
DECIDES: Mapping[str, tuple[str, bool]] = {
    "delete": ("deletion", True),
    "restore": ("deletion", False),
    "hold": ("hold", True),
    "unhold": ("hold", False),
    "choose": ("choice", True),
}
Values = Mapping[str, Any]


def undecided(snapshot: Snapshot) -> Findings:
    """Find decisions and policies in the catalog that are not what the objects say (I16)."""
    for key, said in snapshot.documents.items():
        if said is None:
            yield Finding(key, "cannot be read")
    wanted, rows = last_decisions(snapshot), snapshot.decision_rows
    for decision in wanted.keys() | rows.keys():
        if wanted.get(decision) != rows.get(decision):
            yield Finding(str(decision), "not what was decided last")
    policies, in_force = last_policies(snapshot), snapshot.policy_rows
    for policy in policies.keys() | in_force.keys():
        if policies.get(policy) != in_force.get(policy):
            yield Finding("/".join(policy), "not the newest version")


def commands_without_object(snapshot: Snapshot) -> Findings:
    """Find commands and policies, in topics and tables, whose object is not there."""
    there = {f"{one['tenant']}/{one['study_uid']}/{one['event_id']}" for one in commands(snapshot)}
    for command in {*snapshot.commands, *snapshot.command_rows}:
        if f"{command.study}/{command.event_id}" not in there:
            yield Finding(str(command), "a command without its object")
    versions = {policy_version(one) for one in policies(snapshot)}
    announced = {one.about[1:] for one in snapshot.read_records if one.about and one.about[0] == "policy"}
    for version in {*announced, *((*name, row[0]) for name, row in snapshot.policy_rows.items())} - versions:
        yield Finding("/".join(map(str, version)), "a policy without its object")


def objects_without_row(snapshot: Snapshot) -> Findings:
    """Find objects of commands and policies that no row names, and of which no record was dead-lettered."""
    rows = {(one.study, one.event_id) for one in snapshot.command_rows}
    known = rows | rejected(snapshot)
    for one in commands(snapshot):
        if (study_of(one), one["event_id"]) not in known:
            yield Finding(f"{study_of(one)} {one['event_id']}", "no row names the command")
    for policy in last_policies(snapshot).keys() - snapshot.policy_rows.keys():
        yield Finding("/".join(policy), "no row names the policy")


def unlike_object(snapshot: Snapshot) -> Findings:
    """Find commands whose row is not what their object says."""
    said = {(study_of(one), one["event_id"]): one["action"] for one in commands(snapshot)}
    for row in snapshot.command_rows:
        if said.get((row.study, row.event_id), row.action) != row.action:
            yield Finding(str(row), "otherwise than its object")


def last_decisions(snapshot: Snapshot) -> dict[Decision, tuple[bool, str]]:
    """Return what was decided last of each subject, and the id of the command that did, by the objects of commands."""
    not_counted = rejected(snapshot)
    last: dict[Decision, tuple[bool, str]] = {}
    for one in sorted(commands(snapshot), key=lambda one: (one["occurred_at"], one["event_id"])):
        if one["action"] in DECIDES and (study_of(one), one["event_id"]) not in not_counted:
            subject, in_force = DECIDES[one["action"]]
            named = (one["sop_uid"], one["data_hash"]) if subject == "choice" else ("", "")
            last[Decision(study_of(one), subject, *named)] = in_force, one["event_id"]
    return last


def rejected(snapshot: Snapshot) -> frozenset[tuple[Study | None, str]]:
    """Return study and event id of each command whose record the catalog job has dead-lettered: it decides nothing."""
    dead = {place for job, place in snapshot.dead_letters if job == "catalog"}
    return frozenset((one.study, one.event_id) for one in snapshot.read_records if one.place in dead)


def last_policies(snapshot: Snapshot) -> dict[tuple[str, str, str], tuple[int, Any]]:
    """Return the number and the rules of the newest version of each policy, by the objects of policies."""
    return {
        (one["tenant"], one["kind"], one["name"]): (one["version"], rules(one["rules"]))
        for one in sorted(policies(snapshot), key=policy_version)
    }


def rules(values: Any) -> Any:
    """Return rules without what is empty: objects leave out what rows have as null."""
    if isinstance(values, list):
        return [rules(one) for one in values]
    if isinstance(values, dict):
        return {name: rules(one) for name, one in values.items() if one not in (None, [], {})}
    return values


def commands(snapshot: Snapshot) -> Iterator[Values]:
    """Yield what the objects of commands say."""
    yield from (said for key, said in snapshot.documents.items() if said and key.split("/")[2:3] == [COMMANDS])


def policies(snapshot: Snapshot) -> Iterator[Values]:
    """Yield what the objects of policies say."""
    yield from (said for key, said in snapshot.documents.items() if said and key.split("/")[1:2] == [POLICIES])


def policy_version(values: Values) -> tuple[str, str, str, int]:
    """Return the tenant, kind and name of a policy, and its version."""
    return values["tenant"], values["kind"], values["name"], values["version"]


def study_of(values: Values) -> Study:
    """Return the study of a command."""
    return Study(values["tenant"], values["study_uid"])
