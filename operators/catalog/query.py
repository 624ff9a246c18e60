"""A query as a value, made from the parameters of a QIDO request or the keys of a C-FIND.

Matching follows PS3.4 C.2.2.2, the parameters PS3.18 8.3.4. Where the standard leaves a choice, this is ours: text
matches with case, descriptions without it, names without case and accents; a name matches when one of its component
groups does; a partial time (HH, HHMM) covers the whole hour or minute; date and time match independently of each other
and as the objects hold them, so a time zone in the query is ignored. A list of UIDs or codes, of which any matches, may
also be given as repeated parameters.

A pattern that selects little, such as *n*, costs a look at every row, and its first hits are wanted while somebody
types. So does a condition on series or instances that no index serves, when no other condition has one. These are
compared with the first MOST_COMPARED rows that meet the query's other conditions, in the order of results.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, time
from typing import Any, Literal, NamedTuple

from pydicom.datadict import tag_for_keyword

from operators.dicom.attributes import ATTRIBUTES, LEVELS, Attribute, Level, Matching
from operators.dicom.names import fold, fold_case
from operators.errors import BadQuery
from schemas.objects import is_uid

Operator = Literal["equals", "among", "like", "between", "empty"]
Value = str | int | date | time | None
Parameters = Iterable[tuple[str, str]]

MAX_VALUE_LENGTH = 8192
MAX_STARS = 8
WILDCARDS = frozenset("*?")
MIN_LITERALS = 2
# The rows that conditions without an index, or with fewer literal characters, are compared with.
MOST_COMPARED = 5000
# How far the results after a page are counted: to count all of a million would take longer than any page.
MOST_COUNTED = 10_000
# The width of characters of which a name has two or three, not ten: ideographs, syllables of Hangul, kana (UAX 11).
WIDE = ("W", "F")
MAX_DIGITS = 9
MAX_PATH_LENGTH = 8
# The most values for one attribute, with multiplevaluematching.
MAX_VALUES = 64


@dataclass(frozen=True)
class Match:
    """One condition on an attribute.

    `like` has DICOM patterns of which one must match; `between` has two inclusive ends, None for an open one.
    `is_short` is True if a pattern of the query has too few literal characters to select much.
    """

    attribute: Attribute
    operator: Operator
    values: tuple[Value, ...] = ()
    is_short: bool = False


@dataclass(frozen=True)
class Query:
    """A query: its level, the UIDs that its path names, its conditions, and the page and attributes to return.

    `include` has the tags to return besides the default ones; None means all attributes. Some matches are compared
    with the first `most_compared` rows that meet the others, and the results after the page are counted up to `most_counted`.
    """

    level: Level
    study_uid: str | None = None
    series_uid: str | None = None
    matches: tuple[Match, ...] = ()
    limit: int = 100
    offset: int = 0
    include: frozenset[str] | None = frozenset()
    warnings: tuple[str, ...] = ()
    most_compared: int = MOST_COMPARED
    most_counted: int = MOST_COUNTED

    @property
    def compared_matches(self) -> tuple[Match, ...]:
        """Return the conditions that are compared with few rows: those that would cost a look at every one."""
        return tuple(match for match in self.matches if match.is_short or self._needs_index(match))

    @property
    def usual_matches(self) -> tuple[Match, ...]:
        """Return the conditions that are compared with every row."""
        compared = self.compared_matches
        return tuple(match for match in self.matches if match not in compared)

    def _needs_index(self, match: Match) -> bool:
        """True for a condition on series or instances if the path names no study and no condition has an index.

        Studies are few enough to look at each; their instances are not.
        """
        return match.attribute.level != "study" and self.study_uid is None and not any(map(_has_index, self.matches))

    @property
    def parents(self) -> tuple[Level, ...]:
        """Return the upper levels in the answer: those that the path does not name, or all with includefield."""
        named = {"study": self.study_uid, "series": self.series_uid}
        upper = LEVELS[: LEVELS.index(self.level)]
        return tuple(level for level in upper if self.include != frozenset() or named[level] is None)


class PageAsked(NamedTuple):
    """A page of results: so many at most, after so many others."""

    limit: int
    offset: int


@dataclass(frozen=True)
class PageLimits:
    """The number of results on a page: the default when a query gives no limit, and the most that it can have."""

    default_limit: int = 100
    most_limit: int = 1000


BY_PATH: Mapping[str, Attribute] = {attribute.path: attribute for attribute in ATTRIBUTES if attribute.matching}

# Parameters that name no attribute; accept and charset belong to content negotiation.
CONTROLS = ("limit", "offset", "includefield", "fuzzymatching", "emptyvaluematching", "multiplevaluematching")
NEGOTIATION = ("accept", "charset")


def parse(
    parameters: Parameters,
    level: Level,
    *,
    study_uid: str | None = None,
    series_uid: str | None = None,
    limits: PageLimits = PageLimits(),
) -> Query:
    """Return the query of a query string's pairs, below the study and series that its path names. Raises BadQuery."""
    controls, wanted, ignored = _sort_out(parameters, level)
    rules = _Rules(_flag(controls, "emptyvaluematching"), _flag(controls, "multiplevaluematching"))
    matches = tuple(match for path, text in wanted.items() if (match := _match(BY_PATH[path], text, rules)))
    page = _page(controls, limits)
    query = Query(
        level=level,
        study_uid=study_uid,
        series_uid=series_uid,
        matches=matches,
        limit=page.limit,
        offset=page.offset,
        include=_include(controls.get("includefield", [])),
        warnings=_warnings(controls, ignored),
    )
    return replace(query, warnings=(*query.warnings, *_compared_warnings(query.compared_matches)))


def page_of(parameters: Parameters, limits: PageLimits = PageLimits()) -> PageAsked:
    """Return the page that a query string asks for which can ask for nothing else. Raises BadQuery."""
    controls: dict[str, list[str]] = {}
    for name, text in parameters:
        controls.setdefault(name, []).append(text)
    if controls.keys() - {"limit", "offset", *NEGOTIATION}:
        raise BadQuery("the parameters are limit and offset")
    return _page(controls, limits)


def path_of(name: str) -> str | None:
    """Return the path of tags, in eight hexadecimal digits and joined by dots, that keywords or tags name.

    None when any part of the name is neither.
    """
    tags = [_tag(part) for part in name.split(".", MAX_PATH_LENGTH)]
    return None if None in tags else ".".join(tag for tag in tags if tag)


def _tag(name: str) -> str | None:
    if re.fullmatch(r"[0-9A-Fa-f]{8}", name):
        return name.upper()
    tag = tag_for_keyword(name) if name else None  # the dictionary has an element without a keyword
    return None if tag is None else f"{tag:08X}"


def like_pattern(pattern: str) -> str:
    r"""Return a DICOM pattern as a pattern of SQL's LIKE, with the escape character \: only * and ? are wild."""
    escaped = re.sub(r"([\\%_])", r"\\\1", pattern)
    return escaped.replace("*", "%").replace("?", "_")


def is_met(match: Match, value: Any) -> bool:
    """True if a column's value meets the condition, by the rules that the connectors' SQL follows too."""
    if isinstance(value, tuple):
        return any(is_met(match, member) for member in value) or (match.operator == "empty" and not value)
    if match.operator == "empty":
        return value is None or value == ""
    return value is not None and IS_MET[match.operator](value, match.values)


def is_like(text: str, pattern: str) -> bool:
    """True if a text meets a DICOM pattern: * is any run, ? one character. Takes quadratic time at most."""
    at, here, star, resume = 0, 0, -1, 0
    while here < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, here
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[here]):
            at, here = at + 1, here + 1
        elif star >= 0:
            resume += 1
            at, here = star + 1, resume
        else:
            return False
    return all(character == "*" for character in pattern[at:])


def _between(value: Any, ends: tuple[Any, ...]) -> bool:
    low, high = ends
    return (low is None or low <= value) and (high is None or value <= high)


IS_MET: Mapping[str, Callable[[Any, tuple[Any, ...]], bool]] = {
    "equals": lambda value, values: bool(value == values[0]),
    "among": lambda value, values: value in values,
    "like": lambda value, values: any(is_like(value, pattern) for pattern in values),
    "between": _between,
}


def _sort_out(parameters: Parameters, level: Level) -> tuple[dict[str, list[str]], dict[str, str], list[str]]:
    """Divide the pairs into controls, texts to match by path, and names that are ignored at this level (PS3.18 8.3)."""
    controls: dict[str, list[str]] = {}
    wanted: dict[str, str] = {}
    ignored: list[str] = []
    for name, text in parameters:
        if name in CONTROLS:
            controls.setdefault(name, []).append(text)
        elif name not in NEGOTIATION:
            path = path_of(name)
            if path is None or path not in BY_PATH or LEVELS.index(BY_PATH[path].level) > LEVELS.index(level):
                ignored.append(name)
            elif path in wanted and BY_PATH[path].matching in LISTS:
                wanted[path] += f",{text}"
            elif wanted.setdefault(path, text) != text:
                raise BadQuery(f"{BY_PATH[path].keyword} is given twice with different values: give it once")
    return controls, wanted, ignored


def _warnings(controls: Mapping[str, list[str]], ignored: list[str]) -> tuple[str, ...]:
    warnings = []
    if _flag(controls, "fuzzymatching"):
        warnings.append("The fuzzymatching parameter is not supported. Only literal matching has been performed.")
    # The names go into an HTTP header: a name that no attribute could have is left out.
    names = sorted({name for name in ignored if re.fullmatch(r"[A-Za-z0-9.]{1,80}", name)})[:8]
    if ignored:
        listed = f" ({', '.join(names)})" if names else ""
        warnings.append(f"Some parameters are not supported for matching at this level and were ignored{listed}.")
    return tuple(warnings)


def _has_index(match: Match) -> bool:
    """True if an index finds the rows that meet the condition; none finds empty values."""
    return match.attribute.is_indexed and match.operator != "empty" and not match.is_short


def _compared_warnings(compared: Iterable[Match]) -> Iterator[str]:
    names = ", ".join(match.attribute.keyword for match in compared)
    if names:
        yield (
            f"Conditions that no index serves are compared with the first {MOST_COMPARED} results of the other conditions"
            f" only ({names})."
        )


def _single(controls: Mapping[str, list[str]], name: str) -> str | None:
    texts = set(controls.get(name, []))
    if len(texts) > 1:
        raise BadQuery(f"{name} is given twice with different values: give it once")
    return texts.pop() if texts else None


def _count(controls: Mapping[str, list[str]], name: str, default: int) -> int:
    text = _single(controls, name)
    if text is None:
        return default
    if not re.fullmatch("[0-9]+", text) or len(text) > MAX_DIGITS:
        raise BadQuery(f"{name} should be a whole number from 0 to {10**MAX_DIGITS - 1}")
    return int(text)


def _page(controls: Mapping[str, list[str]], limits: PageLimits) -> PageAsked:
    limit = min(_count(controls, "limit", limits.default_limit), limits.most_limit)
    return PageAsked(limit, _count(controls, "offset", 0))


def _flag(controls: Mapping[str, list[str]], name: str) -> bool:
    text = _single(controls, name)
    if text not in (None, "true", "false"):
        raise BadQuery(f"{name} should be true or false")
    return text == "true"


def _include(texts: list[str]) -> frozenset[str] | None:
    names = {name.strip() for text in texts for name in text.split(",")}
    if "all" in {name.lower() for name in names}:
        return None
    return frozenset(path.partition(".")[0] for name in names if (path := path_of(name)))


@dataclass(frozen=True)
class _Rules:
    """The rules of a query: if "" matches empty values, and if backslashes separate several values.

    Source: PS3.18 8.3.4.5 and 8.3.4.6.
    """

    has_empty_values: bool
    has_multiple_values: bool


def _match(attribute: Attribute, text: str, rules: _Rules) -> Match | None:
    """Return the condition that a text asks for; None for universal matching, which finds all (PS3.4 C.2.2.2.3)."""
    text = text.strip(" ")
    if len(text) > MAX_VALUE_LENGTH:
        raise BadQuery(
            f"the value of {attribute.keyword} is longer than {MAX_VALUE_LENGTH} characters: ask for less at once"
        )
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise BadQuery(f"the value of {attribute.keyword} holds control characters: send UTF-8 text without them")
    if not text.strip("*"):
        return None
    if rules.has_empty_values and text == '""':
        return Match(attribute, "empty")
    if rules.has_multiple_values and "\\" in text and attribute.matching in MULTIPLE:
        texts = [part.strip(" ") for part in text.split("\\", MAX_VALUES)]
        return _any_of(attribute, texts, READERS[attribute.matching])
    return READERS[attribute.matching](attribute, text)


def _any_of(attribute: Attribute, texts: list[str], read: "Read") -> Match | None:
    """Match any of several values (PS3.4 C.2.2.2.8); universal when one of them is."""
    if len(texts) > MAX_VALUES:
        raise BadQuery(f"{attribute.keyword} has more than {MAX_VALUES} values: ask for fewer at once")
    matches = [read(attribute, part) for part in texts if part.strip("*")]
    if len(matches) < len(texts) or None in matches:
        return None
    values = tuple(dict.fromkeys(value for match in matches if match for value in match.values))
    is_like = any(match and match.operator == "like" for match in matches)
    is_short = any(match and match.is_short for match in matches)
    return Match(attribute, "like" if is_like else "among", values, is_short)


def _text(attribute: Attribute, text: str) -> Match:
    if WILDCARDS.isdisjoint(text):
        return Match(attribute, "equals", (text,))
    _check_pattern(attribute, text)
    return Match(attribute, "like", (re.sub(r"\*+", "*", text),), _is_short(attribute, text))


def _description(attribute: Attribute, text: str) -> Match:
    return _text(attribute, fold_case(text))


def _codes(attribute: Attribute, text: str) -> Match | None:
    """Match any of a list of codes, which hold neither commas nor backslashes (PS3.5 6.2); * in it matches everything."""
    codes = [code for part in re.split(r"[,\\]", text) if (code := part.strip(" "))]
    if len(codes) == 1:
        return READERS["text"](attribute, codes[0])
    return _any_of(attribute, codes, _text) if codes else None


def _is_short(attribute: Attribute, text: str) -> bool:
    """True if a text is a pattern with too few literal characters to select much; wide ones count twice."""
    is_pattern = attribute.matching in SHORT_IN and not WILDCARDS.isdisjoint(text)
    literals = (1 + (unicodedata.east_asian_width(c) in WIDE) for c in text if c not in WILDCARDS)
    return is_pattern and sum(literals) < MIN_LITERALS


def _check_pattern(attribute: Attribute, pattern: str) -> None:
    """Raise BadQuery for a pattern whose comparison with a row takes too long."""
    if len(re.findall(r"\*+", pattern)) > MAX_STARS:
        raise BadQuery(f"{attribute.keyword} has more than {MAX_STARS} wildcards *: use fewer")


def _name(attribute: Attribute, text: str) -> Match | None:
    """Match any whole component group, or all groups together when the pattern contains an =."""
    groups = (group.strip(" ").rstrip("^").rstrip(" ") for group in fold(text).split("="))
    pattern = re.sub(r"\*+", "*", "=".join(groups)).rstrip("=")
    if not pattern.strip("*"):
        return None
    _check_pattern(attribute, pattern)
    is_short = _is_short(attribute, pattern)
    if "=" in pattern:
        return Match(attribute, "like", (pattern,), is_short)
    ends = (pattern,) if pattern.endswith("*") else (pattern, f"{pattern}=*")
    starts = () if pattern.startswith("*") else tuple(f"*={end}" for end in ends)
    return Match(attribute, "like", ends + starts, is_short)


def _uids(attribute: Attribute, text: str) -> Match:
    """Read a list of UIDs: with commas in QIDO, with backslashes in C-FIND."""
    uids = tuple(dict.fromkeys(uid.strip(" ") for uid in re.split(r"[,\\]", text)))
    if not all(is_uid(uid) for uid in uids):
        raise BadQuery(
            f"{attribute.keyword} should be UIDs (digits and dots, at most 64 characters) separated by commas"
        )
    return Match(attribute, "among", uids)


def _number(attribute: Attribute, text: str) -> Match:
    if not re.fullmatch(r"[+-]?[0-9]{1,12}", text):
        raise BadQuery(f"{attribute.keyword} should be a whole number")
    return Match(attribute, "equals", (int(text),))


def _date(attribute: Attribute, text: str) -> Match:
    low, high = _range(text, lambda end: (_day(attribute, end),) * 2)
    return Match(attribute, "between", (low, high))


def _day(attribute: Attribute, text: str) -> date:
    try:
        if re.fullmatch(r"[0-9]{8}", text):
            return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        pass
    raise BadQuery(
        f"{attribute.keyword} should be a date as YYYYMMDD, or a range as YYYYMMDD-YYYYMMDD, -YYYYMMDD, YYYYMMDD-"
    )


def _time(attribute: Attribute, text: str) -> Match:
    low, high = _range(text, lambda end: _moments(attribute, end))
    return Match(attribute, "between", (low, high))


def _moments(attribute: Attribute, text: str) -> tuple[time, time]:
    """Return the first and the last moment of a time, which may be partial; second 60 counts as 59 (PS3.5 6.2)."""
    found = re.fullmatch(r"([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:\.([0-9]{1,6}))?)?)?", text)
    try:
        if found:
            hour, minute, second, fraction = found.groups()
            seconds = (min(int(second), 59) if second == "60" else int(second)) if second else None
            first = time(int(hour), int(minute or 0), seconds or 0, int((fraction or "0").ljust(6, "0")))
            last = time(
                int(hour),
                59 if minute is None else int(minute),
                59 if seconds is None else seconds,
                int((fraction or "").ljust(6, "9")),
            )
            return first, last
    except ValueError:
        pass
    raise BadQuery(f"{attribute.keyword} should be a time as HH, HHMM, HHMMSS or HHMMSS.FFFFFF, or a range a-b, -b, a-")


def _range(text: str, ends: Callable[[str], tuple[Any, Any]]) -> tuple[Any, Any]:
    """Read a-b, a-, -b, or one value alone (PS3.4 C.2.2.2.5)."""
    low, dash, high = (part.strip(" ") for part in text.partition("-"))
    if not dash or not (low or high):
        return ends(text)
    return ends(low)[0] if low else None, ends(high)[1] if high else None


Read = Callable[[Attribute, str], Match | None]

# The kinds of matching that take several values with multiplevaluematching; LISTS take a list without it too.
MULTIPLE: frozenset[Matching] = frozenset({"text", "description", "texts", "code", "codes", "name", "number"})
LISTS: frozenset[Matching] = frozenset({"uid", "uids", "code", "codes"})
# The kinds of matching in which a short pattern selects little: codes and steps have few characters, and few rows.
SHORT_IN: frozenset[Matching] = frozenset({"text", "description", "name"})
READERS: Mapping[Matching | None, Read] = {
    "text": _text,
    "description": _description,
    "code": _codes,
    "codes": _codes,
    "texts": _text,
    "name": _name,
    "uid": _uids,
    "uids": _uids,
    "date": _date,
    "time": _time,
    "number": _number,
}
