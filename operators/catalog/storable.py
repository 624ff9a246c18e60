"""Facts as values that a database accepts: typed, bounded and clean; a warning code names each fact that lost data."""

import re
from collections.abc import Callable
from datetime import date, time
from functools import lru_cache
from typing import Any

from operators.dicom.attributes import FACTS
from operators.dicom.facts import texts_of_items
from schemas.events import Facts

# The longest text that is stored, in characters. The longest matched VR has 64 in each component group (PS3.5 6.2), and
# at four bytes a character 256 still fit an entry of a btree.
TEXT_LENGTH = 256
# PostgreSQL's integer.
LEAST, MOST = -(2**31), 2**31 - 1

# All instances of a series have most of their facts in common.
CACHED = 1024

# NUL ends a C string and a lone surrogate has no UTF-8: PostgreSQL accepts neither.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# PS3.5 6.2; the forms with dots and colons are ACR-NEMA's, which old files still hold.
DATE = re.compile(r"([0-9]{4})(\.?)([0-9]{2})\2([0-9]{2})")
TIME = re.compile(r"([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(?:\.([0-9]{1,6}))?)?)?")
NUMBER = re.compile(r"[+-]?[0-9]{1,12}")


def storable_values(facts: Facts) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return every fact under its name as a typed value, and a warning code for each that was lost or cut.

    Text is str, or a tuple of str for the items of a sequence; dates and times are date and time without a zone,
    numbers int. None means absent or unreadable, an empty str means an element without a value.
    """
    values: dict[str, Any] = {}
    warnings = []
    for name, fact in facts.__dict__.items():
        if fact is None:
            values[name] = None
            continue
        values[name], problem = READERS.get(KINDS[name], _text)(fact)
        if problem:
            warnings.append(f"{name.replace('_', '-')}-{problem}")
    return values, tuple(warnings)


def storable_text(text: str) -> str:
    """Return the text without the characters that a database refuses."""
    return UNSTORABLE.sub("", text)


def clean(text: str) -> str:
    """Return the text as it is matched: storable, and without space around it."""
    return storable_text(text).strip()


@lru_cache(CACHED)
def _text(fact: str) -> tuple[str, str]:
    text = clean(fact)
    return text[:TEXT_LENGTH], "cut" if len(text) > TEXT_LENGTH else ""


@lru_cache(CACHED)
def _date(fact: str) -> tuple[date | None, str]:
    text = clean(fact)
    match = DATE.fullmatch(text)
    if match is None:
        return None, "unreadable" if text else ""
    try:
        return date(int(match[1]), int(match[3]), int(match[4])), ""
    except ValueError:
        return None, "unreadable"


@lru_cache(CACHED)
def _time(fact: str) -> tuple[time | None, str]:
    text = clean(fact)
    match = TIME.fullmatch(text)
    if match is None:
        return None, "unreadable" if text else ""
    hour, minute, second, fraction = (part or "0" for part in match.groups())
    try:
        # A leap second is written 60 (PS3.5 6.2), which neither Python nor PostgreSQL keeps.
        seconds = 59 if second == "60" else int(second)
        return time(int(hour), int(minute), seconds, int(fraction.ljust(6, "0"))), ""
    except ValueError:
        return None, "unreadable"


def _number(fact: str) -> tuple[int | None, str]:
    text = clean(fact)
    if not text:
        return None, ""
    return _count(int(text)) if NUMBER.fullmatch(text) else (None, "unreadable")


def _count(fact: int) -> tuple[int | None, str]:
    return (fact, "") if LEAST <= fact <= MOST else (None, "unreadable")


def _texts(fact: str) -> tuple[tuple[str, ...], str]:
    """Return the values in all items of a sequence that are not empty, each once."""
    found = [_text(value) for text in texts_of_items(fact) for value in text.split("\\")]
    return tuple(dict.fromkeys(text for text, _ in found if text)), max(problem for _, problem in found)


READERS: dict[str, Callable[[Any], tuple[Any, str]]] = {
    "DA": _date,
    "TM": _time,
    "IS": _number,
    "US": _count,
    "texts": _texts,
}
# The kind of each fact: its VR, or that it has a text in each item of a sequence.
KINDS: dict[str, str] = {
    attribute.name: attribute.matching or "" if attribute.sequence else attribute.vr for attribute in FACTS
}
