"""Records are packed as fastavro packs them; a schema of a kind that no event has is refused."""

import io
from datetime import UTC, datetime
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import codec
from schemas.packing import packing

SCHEMAS = {version.path.parent.name: version.schema for version in codec.versions()}
SIMPLE: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(),
    "bytes": st.binary(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "boolean": st.booleans(),
    "timestamp-micros": st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
}


def values_of(schema: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for the values of a schema."""
    if isinstance(schema, list):
        return st.none() | values_of(schema[1])
    if isinstance(schema, str) or "logicalType" in schema:
        return SIMPLE[schema if isinstance(schema, str) else schema["logicalType"]]
    match schema["type"]:
        case "record":
            return st.fixed_dictionaries({field["name"]: values_of(field["type"]) for field in schema["fields"]})
        case "array":
            return st.lists(values_of(schema["items"]), max_size=3)
        case "map":
            return st.dictionaries(st.text(), values_of(schema["values"]), max_size=3)
        case _:
            return st.sampled_from(schema["symbols"])


@pytest.mark.parametrize("event", SCHEMAS)
@given(data=st.data())
def test_a_record_is_packed_as_fastavro_packs_it(event: str, data: st.DataObject) -> None:
    record, expected = data.draw(values_of(SCHEMAS[event])), io.BytesIO()
    fastavro.schemaless_writer(expected, SCHEMAS[event], record)

    assert packing(SCHEMAS[event])(record) == expected.getvalue()


@pytest.mark.parametrize("schema", ["float", ["string", "null"], {"type": "fixed", "size": 2}])
def test_a_schema_of_another_kind_is_refused(schema: Any) -> None:
    with pytest.raises(KeyError):
        packing(schema)
