"""The page about topics, docs/topics.md: the text of topics.template.md, with what registry and schemas say."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from string import Template
from typing import Any

from deploy.local.stack import LOCAL
from schemas import codec
from schemas.codec import SchemaVersion
from schemas.topics import PARTITIONS, POLICY_CHANGED, STUDY_FACTS, TOPICS, Topic

TEMPLATE = Path(__file__).with_name("topics.template.md")
ESCAPED_BAR, NOTHING = "\\|", "\N{EN DASH}"
SUMMARY = ("topic", "meaning", "key", "written by", "read by", "kept", "patient data")
FIELDS = ("field", "type", "meaning")
# What a committed schema, which never changes, says in words that no longer lead anywhere.
MENDED = {"(see the README's words)": "(the words of docs/architecture.md say of what)"}
# What the registry and the schemas do not say of a topic.
REMARKS = {
    POLICY_CHANGED.name: "The last record of a policy is its newest version, and earlier ones may come in any order ([policies.md](policies.md)): the greatest version counts.",
    STUDY_FACTS.name: "Without the setting `FLUORO_FACTS_KEY` this topic is empty. Make a key with `openssl rand -hex 32`, and start the jobs again.",
}
LOGICAL = {"timestamp-micros": "timestamp, microseconds"}


def text() -> str:
    """Return the page."""
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        summary=table(SUMMARY, map(row, TOPICS)),
        partitions=PARTITIONS,
        local_partitions=LOCAL["FLUORO_BROKER_TOPIC_PARTITIONS"],
        topics="\n\n".join(map(section, TOPICS)),
    )


def row(topic: Topic) -> tuple[str, ...]:
    """Return a topic's row in the table of all topics."""
    name = f"[`{topic.name}`](#{topic.name})"
    people = (", ".join(topic.producers), ", ".join(topic.consumers))
    return (name, meaning(topic), topic.key, *people, topic.kept, "**yes**" if topic.restricted else "no")


def meaning(topic: Topic) -> str:
    """Return what a record of the topic says, in a sentence: the first of its schema."""
    return str(codec.newest(topic.event.__name__).schema["doc"]).split(". ")[0].rstrip(".")


def section(topic: Topic) -> str:
    """Return all about a topic: its schemas, the fields of the newest one, and an example."""
    newest = codec.newest(topic.event.__name__)
    example = json.loads(newest.path.with_suffix(".example.json").read_text())
    parts = (
        f"### {topic.name}",
        str(newest.schema["doc"]),
        *([REMARKS[topic.name]] if topic.name in REMARKS else []),
        table(("schema", "fingerprint"), map(_version, _versions(newest.name))),
        table(FIELDS, fields(newest.schema)),
        f"An example, as `topics read {topic.name} --json` has it under `value`:",
        f"```json\n{json.dumps(example, indent=2, ensure_ascii=False)}\n```",
    )
    return "\n\n".join(parts)


def fields(schema: Any, before: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield name, type and meaning of each field of a record, and of the records in it."""
    for field in schema["fields"]:
        name = f"{before}{field['name']}"
        yield f"`{name}`", type_name(field["type"]), mended(field.get("doc", ""))
        inner = record_in(field["type"])
        if inner:
            yield from fields(inner, f"{name}.")


def mended(text: str) -> str:
    """Return a schema's text, with what became wrong in it put right."""
    for old, new in MENDED.items():
        text = text.replace(old, new)
    return text


def record_in(kind: Any) -> Any:
    """Return the schema of the record that a type is or holds; None without one."""
    if isinstance(kind, list):
        return next(filter(None, map(record_in, kind)), None)
    if not isinstance(kind, dict):
        return None
    return kind if kind["type"] == "record" else record_in(kind.get("items"))


def type_name(kind: Any) -> str:
    """Return an Avro type in a few words."""
    if isinstance(kind, list):
        return " or ".join(type_name(one) for one in sorted(kind, key=lambda one: one == "null"))
    if not isinstance(kind, dict):
        return str(kind)
    if kind["type"] == "array":
        return f"list of {type_name(kind['items'])}"
    if kind["type"] == "enum":
        return ", ".join(kind["symbols"])
    return LOGICAL.get(kind.get("logicalType", ""), str(kind["type"]))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(map(_line, (headings, ["---"] * len(headings), *rows)))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(_escaped(cell) or NOTHING for cell in cells)} |"


def _escaped(cell: str) -> str:
    """Return a cell's text without what would end the cell, or would be a tag of HTML."""
    return cell.replace("|", ESCAPED_BAR).replace("<", "&lt;")


def _versions(name: str) -> list[SchemaVersion]:
    return [version for version in codec.versions() if version.name == name]


def _version(version: SchemaVersion) -> tuple[str, str]:
    return f"`schemas/avro/{version.name}/{version.path.name}`", f"`{version.fingerprint.hex()}`"
