"""The help names every kind with its facts and arguments, and what each fact means."""

from deploy.commands.policies.reference import reference
from operators.policies.facts import FACTS
from operators.policies.kinds import KINDS


def test_the_help_has_every_kind_fact_and_argument_of_the_tables() -> None:
    said = reference()

    for name, kind in KINDS.items():
        section = said.split(f"{name}: {kind.meaning}\n")[1]
        assert set(section.splitlines()[0].removeprefix("  when: ").split(", ")) == kind.facts
        assert all(f"  then: {each}, {argument.meaning}" in section for each, argument in kind.then.items())
    assert all(fact.meaning in said.split("facts:\n")[1] for fact in FACTS.values())
