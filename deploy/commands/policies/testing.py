"""What the policies of a kind would say of a study: each with its rule, and what is decided. Nothing is put or done."""

import asyncio
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from deploy.commands.output import as_json, print_line, table
from deploy.commands.policies.putting import document_in
from deploy.commands.sections import TenantRowSections, load_sections
from deploy.errors import Failed
from operators.catalog.ports import HiddenRows
from operators.catalog.revisions import revision_event
from operators.connectors.postgres.hidden_rows import PostgresHiddenRows
from operators.connectors.s3.store import S3ObjectStore
from operators.policies.condition import is_askable
from operators.policies.deciding import decided_json, decisions, met_rule
from operators.policies.document import BadPolicy, rules_in
from operators.policies.facts import StudyFact, facts_of, plain_facts
from operators.policies.kinds import KINDS
from operators.store.policies import in_force
from schemas.events import PolicyChanged, PolicyKind, PolicyRule, StudySettled

HEADINGS = ("POLICY", "VERSION", "RULE", "THEN")
NOT_SETTLED = "this study has no revision: policies are asked once it has settled. Look at its UID, and at the tenant"
NOTHING_SHOWN = "No policy is asked: the study shows no instance."
NOT_ASKABLE = "not asked: a rule has a fact that this release does not know"
NO_POLICY = "There is no policy of this kind."


@dataclass(frozen=True)
class Saying:
    """What one policy says of a study: the rule that is met, None without one, and if it is what is decided."""

    policy: PolicyChanged
    rule: PolicyRule | None
    decides: bool


def test_policies(options: Namespace) -> None:
    """Ask the policies of a kind about a study, and print what they would say; nothing is put, and nothing done."""
    sections = load_sections(TenantRowSections)
    tenant, at = options.tenant or sections.api.tenant, datetime.now(UTC) + options.after
    drafts = [draft_of(options.kind, options.name, options.draft)] if options.draft else []
    policies = with_drafts(asyncio.run(_in_force(sections, tenant, options.kind)), drafts)
    study = study_of(PostgresHiddenRows(sections.catalog), tenant, options.study)
    facts = facts_of(study, at)
    if options.json:
        print_line(as_json(decided_json(study, facts, decisions(policies, facts))))
    else:
        print_line(told(options.kind, study, facts, sayings(policies, facts)))


def draft_of(kind: PolicyKind, name: str | None, file: str) -> PolicyChanged:
    """Return the policy of a file, under a version that no policy has; raises Failed for a file that is none."""
    if name is None:
        raise Failed("a draft needs the name that it would be put under: --name")
    try:
        rules = rules_in(kind, document_in(file))
    except BadPolicy as error:
        raise Failed("\n".join(error.problems)) from error
    now = datetime.now(UTC)
    return PolicyChanged(
        event_id="", tenant="", occurred_at=now, kind=kind, name=name, version=0, who="", why="", rules=rules
    )


def with_drafts(policies: Iterable[PolicyChanged], drafts: Iterable[PolicyChanged]) -> list[PolicyChanged]:
    """Return the policies in the order in which they are asked, each draft in place of the one with its name."""
    by_name = {policy.name: policy for policy in (*policies, *drafts)}
    return [by_name[name] for name in sorted(by_name)]


def study_of(rows: HiddenRows, tenant: str, study_uid: str) -> StudySettled:
    """Return the last announcement of a study. Raises Failed if it has none, Unavailable."""
    revision = rows.last_revision(tenant, study_uid)
    if revision is None:
        raise Failed(NOT_SETTLED)
    return revision_event(revision)


def sayings(policies: Sequence[PolicyChanged], facts: Mapping[str, StudyFact]) -> list[Saying]:
    """Return what each policy says, and which of them decide."""
    deciding = {decision.policy for decision in decisions(policies, facts)}
    return [Saying(policy, met_rule(policy.rules, facts), policy.name in deciding) for policy in policies]


def told(kind: PolicyKind, study: StudySettled, facts: Mapping[str, StudyFact], said: Sequence[Saying]) -> str:
    """Return what is printed for people: the facts that the kind may ask for, and what each policy says."""
    asked = {name: value for name, value in plain_facts(facts).items() if name in KINDS[kind].facts}
    lines = [f"Revision {study.revision}: " + ", ".join(f"{name} {_in_words(value)}" for name, value in asked.items())]
    if not study.instances:
        return "\n".join([*lines, NOTHING_SHOWN])
    return "\n".join([*lines, table(HEADINGS, map(_columns, said)) if said else NO_POLICY])


async def _in_force(sections: TenantRowSections, tenant: str, kind: PolicyKind) -> tuple[PolicyChanged, ...]:
    async with S3ObjectStore(sections.store) as store:
        return await in_force(store, tenant, kind)


def _in_words(value: list[str] | int) -> str:
    return str(value) if isinstance(value, int) else " and ".join(value) or "none"


def _columns(said: Saying) -> tuple[str, str, str, str]:
    version = str(said.policy.version) if said.policy.version else "draft"
    if said.rule is None:
        return said.policy.name, version, "", "no rule is met" if is_askable(said.policy.rules) else NOT_ASKABLE
    if not said.decides:
        return said.policy.name, version, said.rule.name, "not asked: a policy before it decides"
    done = ", ".join(f"{name} {value}" for name, value in said.rule.then.items()) or "nothing is done"
    return said.policy.name, version, said.rule.name, done
