"""Records as Avro's binary encoding, packed by functions that are made of a schema once (Avro 1.12, "Binary Encoding").

fastavro, which the tests compare them with, walks through the schema for every record: of an instance's event that took
100 to 160 us in a gateway whose caches were cold.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

Pack = Callable[[Any], bytes]

EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
# The seven lower bits of a varint's byte; the eighth is set in all but the last one.
LOWER, MORE = 0x7F, 0x80
SMALL = 1024


def packing(schema: Any) -> Pack:
    """Return the function that packs a value of this schema; raises KeyError for a kind of schema that no event has."""
    if isinstance(schema, list):
        null, other = schema
        if null != "null":
            raise KeyError("a union begins with null")
        return _text_or_null if other == "string" else _or_null(packing(other))
    if isinstance(schema, str):
        return SIMPLE[schema]
    return SIMPLE[schema["logicalType"]] if "logicalType" in schema else MADE[schema["type"]](schema)


def _varint(number: int) -> bytes:
    left, packed = number << 1 if number >= 0 else ~(number << 1), bytearray()
    while left > LOWER:
        packed.append(left & LOWER | MORE)
        left >>= 7
    packed.append(left)
    return bytes(packed)


SMALL_VARINTS = tuple(map(_varint, range(SMALL)))


def _number(number: int) -> bytes:
    return SMALL_VARINTS[number] if 0 <= number < SMALL else _varint(number)


def _bytes(data: bytes) -> bytes:
    return _number(len(data)) + data


def _text(text: str) -> bytes:
    return _bytes(text.encode())


def _text_or_null(text: str | None) -> bytes:
    return b"\0" if text is None else b"\2" + _bytes(text.encode())


def _flag(value: bool) -> bytes:  # noqa: FBT001 - the value to pack
    return b"\1" if value else b"\0"


def _moment(moment: datetime) -> bytes:
    return _varint((moment - EPOCH) // MICROSECOND)


def _or_null(pack: Pack) -> Pack:
    return lambda value: b"\0" if value is None else b"\2" + pack(value)


def _record(schema: Mapping[str, Any]) -> Pack:
    fields = tuple((field["name"], packing(field["type"])) for field in schema["fields"])
    return lambda record: b"".join([pack(record[name]) for name, pack in fields])


def _array(schema: Mapping[str, Any]) -> Pack:
    pack = packing(schema["items"])
    return lambda items: _block(items, b"".join(map(pack, items)))


def _map(schema: Mapping[str, Any]) -> Pack:
    pack = packing(schema["values"])
    return lambda items: _block(items, b"".join([_text(key) + pack(value) for key, value in items.items()]))


def _block(items: Any, packed: bytes) -> bytes:
    """Return the items as one block, and the empty block that ends an array or a map."""
    return _number(len(items)) + packed + b"\0" if items else b"\0"


def _enum(schema: Mapping[str, Any]) -> Pack:
    return {symbol: _varint(number) for number, symbol in enumerate(schema["symbols"])}.__getitem__


SIMPLE: Mapping[str, Pack] = {
    "string": _text,
    "bytes": _bytes,
    "int": _number,
    "long": _number,
    "boolean": _flag,
    "timestamp-micros": _moment,
}
MADE: Mapping[str, Callable[[Mapping[str, Any]], Pack]] = {
    "record": _record,
    "array": _array,
    "map": _map,
    "enum": _enum,
}
