"""The table of attributes agrees with the schemas, columns and row classes that are not derived from it."""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

import schemas
from operators.catalog.rows import InstanceRow, SeriesRow, StudyRow
from operators.dicom.attributes import ATTRIBUTES, FACTS, LEVELS, Attribute, Level, answered_at, required_at
from schemas.events import Facts

ROWS: dict[Level, type[Any]] = {"study": StudyRow, "series": SeriesRow, "instance": InstanceRow}
MATCHED = [attribute for attribute in ATTRIBUTES if attribute.matching]
SCHEMAS = Path(schemas.__file__).parent


def name_of(attribute: Attribute) -> str:
    return attribute.keyword


@pytest.mark.parametrize("attribute", ATTRIBUTES, ids=name_of)
def test_keyword_tag_and_vr_are_those_of_the_dictionary(attribute: Attribute) -> None:
    tags = [int(tag, 16) for tag in attribute.path.split(".")]

    assert [keyword_for_tag(tag) for tag in tags] == attribute.keyword.split(".")
    assert dictionary_VR(tags[-1]) == attribute.vr
    assert tag_for_keyword(attribute.keyword.rpartition(".")[2]) == attribute.tag


@pytest.mark.parametrize("attribute", [each for each in ATTRIBUTES if each.is_indexed], ids=name_of)
def test_an_indexed_attribute_has_an_index_in_the_tables(attribute: Attribute) -> None:
    ddl = "".join(path.read_text() for path in sorted((SCHEMAS / "catalog").glob("*.sql")))
    indexes = re.findall(rf"CREATE INDEX \w+ +ON {attribute.level} (?:USING gin )?\((.*?)\)", ddl)
    keys = re.findall(rf"CREATE TABLE {attribute.level} \(.*?PRIMARY KEY \((.*?)\)", ddl, re.DOTALL)

    assert any(re.search(rf"\b{attribute.column}\b", columns) for columns in (*indexes, *keys))


def test_every_attribute_has_one_row() -> None:
    assert len({attribute.path for attribute in ATTRIBUTES}) == len(ATTRIBUTES)
    assert len({attribute.keyword for attribute in ATTRIBUTES}) == len(ATTRIBUTES)


def test_the_character_set_is_read_before_the_texts_that_it_decodes() -> None:
    assert FACTS[0].keyword == "SpecificCharacterSet"


def test_the_facts_are_the_fields_of_the_event() -> None:
    assert sorted(fact.name for fact in FACTS) == sorted(field.name for field in fields(Facts))


def test_the_facts_are_the_fields_of_the_newest_schema() -> None:
    schema = json.loads(max(SCHEMAS.glob("avro/instance_stored/v*.avsc")).read_text())
    (facts,) = (field["type"] for field in schema["fields"] if field["name"] == "facts")

    assert sorted(fact.name for fact in FACTS) == sorted(field["name"] for field in facts["fields"])


@pytest.mark.parametrize("attribute", MATCHED, ids=name_of)
def test_a_matched_attribute_has_its_column(attribute: Attribute) -> None:
    ddl = "".join(path.read_text() for path in sorted(SCHEMAS.glob("catalog/*.sql")))
    table = re.search(rf"CREATE TABLE {attribute.level} \((.*?)\n\)", ddl, re.DOTALL)
    assert table is not None
    added = re.findall(rf"ALTER TABLE {attribute.level} ADD COLUMN (\w+)", ddl)

    assert attribute.column in {*re.findall(r'^    "?([a-z_]+)"? ', table[1], re.MULTILINE), *added}
    assert attribute.column in {field.name for field in fields(ROWS[attribute.level])}


@pytest.mark.parametrize("attribute", [attribute for attribute in FACTS if attribute.matching == "name"], ids=name_of)
def test_a_persons_name_has_a_column_in_addition_to_its_folded_form(attribute: Attribute) -> None:
    assert attribute.name in {field.name for field in fields(ROWS[attribute.level])}


@pytest.mark.parametrize("level", LEVELS)
def test_the_required_attributes_are_among_those_answered(level: Level) -> None:
    assert set(required_at(level)) <= set(answered_at(level))
