"""The page about topics has each topic, and tells all of its schema."""

import pytest

from deploy.documents.page import fields, meaning, row, section, table, text, type_name
from schemas import codec
from schemas.topics import (
    INSTANCE_QUARANTINED,
    INSTANCE_STORED,
    POLICY_CHANGED,
    RECORD_REJECTED,
    STUDY_COMMAND,
    STUDY_FACTS,
    STUDY_SETTLED,
    TOPICS,
    Topic,
)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_the_page_has_a_row_and_a_section_for_each_topic(topic: Topic) -> None:
    assert f"\n| [`{topic.name}`](#{topic.name}) | {meaning(topic)} |" in text()
    assert f"\n### {topic.name}\n" in text()


def test_topics_with_patient_data_stand_out() -> None:
    restricted = [
        INSTANCE_STORED.name,
        INSTANCE_QUARANTINED.name,
        STUDY_COMMAND.name,
        POLICY_CHANGED.name,
        RECORD_REJECTED.name,
    ]

    assert [topic.name for topic in TOPICS if "**yes**" in row(topic)] == restricted


def test_every_version_has_its_fingerprint() -> None:
    shown = "".join(map(section, TOPICS))

    assert not [version for version in codec.versions() if version.fingerprint.hex() not in shown]


def test_the_fields_of_inner_records_are_listed() -> None:
    listed = {name: kind for name, kind, _ in fields(codec.newest("StudySettled").schema)}

    assert listed["`series`"] == "list of record"
    assert listed["`series.modality`"] == "string or null"
    assert STUDY_SETTLED.name in text()


def test_the_section_of_a_topic_that_a_setting_fills_names_that_setting() -> None:
    assert "`FLUORO_FACTS_KEY` this topic is empty" in section(STUDY_FACTS)
    assert "FLUORO_FACTS_KEY" not in section(STUDY_SETTLED)


def test_what_a_committed_schema_says_of_the_readme_leads_to_the_words() -> None:
    meanings = {name: words for name, _, words in fields(codec.newest("StudySettled").schema)}

    assert meanings["`digest`"].endswith("(the words of docs/architecture.md say of what).")
    assert "README" not in "".join(map(section, TOPICS))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("long", "long"),
        (["null", "string"], "string or null"),
        ({"type": "long", "logicalType": "timestamp-micros"}, "timestamp, microseconds"),
        ({"type": "array", "items": "string"}, "list of string"),
        ({"type": "enum", "name": "Kind", "symbols": ["a", "b"]}, "a, b"),
        ({"type": "record", "name": "Facts", "fields": []}, "record"),
    ],
)
def test_a_type_is_said_in_words(kind: object, words: str) -> None:
    assert type_name(kind) == words


def test_a_table_cannot_be_broken_by_a_bar_or_a_tag_in_a_cell() -> None:
    assert table(("a", "b"), [("1|<b>", "")]).splitlines()[-1] == "| 1\\|&lt;b> | \N{EN DASH} |"
