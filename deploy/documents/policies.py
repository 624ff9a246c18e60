"""The page about policies, docs/policies.md: the text of policies.template.md, with the tables that rules are checked by."""

from collections.abc import Iterator
from pathlib import Path
from string import Template

from deploy.documents.page import table
from operators.policies.condition import MOST_TEXTS
from operators.policies.document import MOST_BYTES, MOST_RULES
from operators.policies.facts import FACTS
from operators.policies.kinds import KINDS, Argument, Kind

TEMPLATE = Path(__file__).with_name("policies.template.md")
FACT_HEADINGS = ("fact", "condition", "meaning", "kinds")
KIND_HEADINGS = ("kind", "decides", "policies of the kind", "arguments of `then`")
EACH, FIRST = (
    "each decides for itself",
    "asked in the order of their names; the first rule that a study meets decides alone",
)


def text() -> str:
    """Return the page."""
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        rules=MOST_RULES,
        texts=MOST_TEXTS,
        kibibytes=MOST_BYTES // 1024,
        facts=table(FACT_HEADINGS, fact_rows()),
        kinds=table(KIND_HEADINGS, kind_rows()),
    )


def fact_rows() -> Iterator[tuple[str, ...]]:
    """Yield a row for each fact."""
    for name, fact in FACTS.items():
        kinds = ", ".join(kind for kind, rules in KINDS.items() if name in rules.facts)
        yield f"`{name}`", f"number from {fact.least}" if fact.is_number else "text", fact.meaning, kinds


def kind_rows() -> Iterator[tuple[str, ...]]:
    """Yield a row for each kind."""
    for name, kind in KINDS.items():
        yield f"`{name}`", kind.meaning, EACH if kind.each_decides else FIRST, "; ".join(_arguments(kind))


def _arguments(kind: Kind) -> Iterator[str]:
    for name, argument in kind.then.items():
        yield f"`{name}`, {_necessity(argument)}: {argument.meaning}"


def _necessity(argument: Argument) -> str:
    return "required" if argument.is_required else "may be left out"
