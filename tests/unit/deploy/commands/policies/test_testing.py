"""People see what policies would say of a study: each policy's rule, and what is decided."""

from datetime import timedelta
from pathlib import Path

import pytest

from deploy.commands.policies import testing
from deploy.errors import Failed
from operators.connectors.memory.catalog import MemoryCatalog, MemoryHiddenRows
from operators.policies.deciding import decided_json, decisions
from operators.policies.facts import facts_of
from schemas.events import PolicyChanged
from tests.support.worlds.catalog_histories import due, instance, numbered, run
from tests.support.worlds.policies import SETTLED_AT, number, policy, rule, settled_study, texts

OLD = policy(rule("old-ct", texts("modality", "CT"), number("settled_s", at_least=60), tier="cold"))
REST = policy(rule("rest", tier="warm"), name="zoo")


def lines(study_age_s: int, *policies: PolicyChanged, instances: int = 10) -> list[list[str]]:
    study = settled_study("CT", "SR", instances=instances)
    facts = facts_of(study, SETTLED_AT + timedelta(seconds=study_age_s))
    text = testing.told("tiering", study, facts, testing.sayings(policies, facts))
    return [line.split() for line in text.splitlines()]


def test_the_rule_that_decides_is_told_with_its_policy_and_version() -> None:
    facts, _, decided, other = lines(60, OLD, REST)

    assert decided == ["age", "1", "old-ct", "tier", "cold"]
    assert other == ["zoo", "1", "rest", "not", "asked:", "a", "policy", "before", "it", "decides"]
    assert facts[:2] == ["Revision", "1:"]
    assert "revision" not in facts, "policies of tiering do not ask for it"


def test_a_policy_whose_rules_are_not_met_is_told_as_such() -> None:
    _, _, first, second = lines(59, OLD, REST)

    assert first == ["age", "1", "-", "no", "rule", "is", "met"]
    assert second == ["zoo", "1", "rest", "tier", "warm"]


def test_a_rule_without_anything_to_do_is_told_as_such() -> None:
    assert lines(0, policy(rule("never")))[-1] == ["age", "1", "never", "nothing", "is", "done"]


def test_a_study_that_shows_nothing_is_said_to_be_asked_about_by_nobody() -> None:
    assert lines(0, REST, instances=0)[-1] == testing.NOTHING_SHOWN.split()


def test_a_policy_that_this_release_cannot_ask_is_told_as_such() -> None:
    later = policy(rule("later", texts("manufacturer", "ACME"), tier="cold"))

    assert lines(0, later, REST)[-2:] == [
        ["age", "1", "-", *testing.NOT_ASKABLE.split()],
        ["zoo", "1", "rest", "tier", "warm"],
    ]


def test_a_kind_without_policies_is_said_to_have_none() -> None:
    assert lines(0)[-1] == testing.NO_POLICY.split()


def test_as_json_the_decisions_name_policy_version_and_rule() -> None:
    study = settled_study("CT")
    facts = facts_of(study, SETTLED_AT + timedelta(seconds=60))
    found = decided_json(study, facts, decisions([OLD, REST], facts))

    assert found["decisions"] == [
        {"kind": "tiering", "policy": "age", "version": 1, "rule": "old-ct", "then": {"tier": "cold"}}
    ]
    assert (found["study"], found["revision"]) == ("1.2", 1)


def test_a_draft_stands_in_for_the_policy_of_its_name(tmp_path: Path) -> None:
    file = tmp_path / "draft.json"
    file.write_text('{"rules": [{"name": "all", "then": {"tier": "cold"}}]}')
    draft = testing.draft_of("tiering", "age", str(file))

    assert [(each.name, each.version) for each in testing.with_drafts([REST, OLD], [draft])] == [("age", 0), ("zoo", 1)]
    assert lines(0, draft)[-1] == ["age", "draft", "all", "tier", "cold"]


@pytest.mark.parametrize("text", ["", '{"rules": [{}, {}]}'])
def test_a_draft_that_is_no_policy_is_refused_with_each_problem_on_a_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "draft.json"
    file.write_text(text)
    with pytest.raises(Failed) as failed:
        testing.draft_of("tiering", "age", str(file))

    assert len(str(failed.value).splitlines()) == (2 if text else 1)


def test_a_draft_needs_a_name_and_a_file_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="--name"):
        testing.draft_of("tiering", None, str(tmp_path))
    with pytest.raises(Failed, match="No such file"):
        testing.draft_of("tiering", "age", str(tmp_path / "missing.json"))


def test_a_study_is_asked_about_as_its_last_revision_was_announced() -> None:
    catalog = MemoryCatalog()
    run(catalog, [numbered([instance(), due()]), numbered([instance(sop="2"), due(number=2)])])
    rows = MemoryHiddenRows(tables=catalog.tables)
    (tenant, study_uid), *_ = catalog.tables.studies

    assert (
        testing.study_of(rows, tenant, study_uid).revision,
        testing.study_of(rows, tenant, study_uid).instances,
    ) == (2, 2)
    with pytest.raises(Failed, match="has settled"):
        testing.study_of(rows, tenant, "1.9")
