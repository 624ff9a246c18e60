"""The page about policies has every kind, fact and argument, and its examples are policies."""

import re

import pytest

from deploy.documents.policies import fact_rows, kind_rows, text
from operators.policies.checking import dead_rules
from operators.policies.document import rules_in
from operators.policies.facts import FACTS
from operators.policies.kinds import KINDS, kind_named

EXAMPLES = re.findall(r"```json (\w+)\n(.*?)```", text(), re.DOTALL)


def test_the_page_has_a_row_for_each_kind_and_each_fact() -> None:
    facts, kinds = list(fact_rows()), list(kind_rows())

    assert [row[0] for row in facts] == [f"`{name}`" for name in FACTS]
    assert [row[0] for row in kinds] == [f"`{name}`" for name in KINDS]
    assert all(f"`{name}`, " in row[3] for row, kind in zip(kinds, KINDS.values(), strict=True) for name in kind.then)


def test_each_kind_has_an_example() -> None:
    assert {kind for kind, _ in EXAMPLES} == set(KINDS)


@pytest.mark.parametrize(("name", "document"), EXAMPLES)
def test_every_example_can_be_put(name: str, document: str) -> None:
    kind = kind_named(name)
    assert kind

    rules = rules_in(kind, document.encode())

    assert rules
    assert dead_rules(kind, "example", {"example": rules}) == ()
