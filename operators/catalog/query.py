"""A search as a value: the parameters of a QIDO request (or C-FIND's keys) as what they ask of the catalog.

Matching is PS3.4 C.2.2.2, the parameters are PS3.18 8.3.4. Our choices where the standard leaves one:
text matches with case, names without case and accents; a name matches when one of its component groups does;
a partial time (HH, HHMM) covers the whole hour or minute; date and time match independently of each other, and as
they stand in the objects: a time zone in the query is ignored. UID lists may also come as repeated parameters.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, time
from typing import Any, Literal

from pydicom.datadict import tag_for_keyword

from operators.dicom.names import fold
from operators.errors import BadQuery
from schemas.objects import is_uid

Level = Literal["study", "series", "instance"]
Kind = Literal["text", "code", "name", "uid", "date", "time", "number", "codes", "uids", "texts"]
Operator = Literal["equals", "among", "like", "between", "empty"]
Value = str | int | date | time | None
Parameters = Iterable[tuple[str, str]]

LEVELS: tuple[Level, ...] = ("study", "series", "instance")
VALUE_CHARACTERS = 8192
STARS = 8
LITERALS = 2
DIGITS = 9
PATH_LENGTH = 8
# Of one attribute, with multiplevaluematching.
VALUES = 64


@dataclass(frozen=True)
class Key:
    """An attribute that can be matched, and the column that holds it; one in a sequence has its tags joined by dots."""

    keyword: str
    tag: str
    kind: Kind
    level: Level
    column: str


@dataclass(frozen=True)
class Match:
    """One condition; `like` holds DICOM patterns of which one must match, `between` two ends, inclusive, None open."""

    key: Key
    operator: Operator
    values: tuple[Value, ...] = ()


@dataclass(frozen=True)
class Query:
    """What is asked; `include` holds tags wanted beyond the default, None wants all there are."""

    level: Level
    study_uid: str | None = None
    series_uid: str | None = None
    matches: tuple[Match, ...] = ()
    limit: int = 100
    offset: int = 0
    include: frozenset[str] | None = frozenset()
    warnings: tuple[str, ...] = ()

    @property
    def parents(self) -> tuple[Level, ...]:
        """Return the upper levels that belong into the answer: those the path does not name, or includefield asks for."""
        named = {"study": self.study_uid, "series": self.series_uid}
        upper = LEVELS[: LEVELS.index(self.level)]
        return tuple(level for level in upper if self.include != frozenset() or named[level] is None)


@dataclass(frozen=True)
class PageLimits:
    """How many results a page holds when nothing is said, and at most."""

    default_limit: int = 100
    most_limit: int = 1000


REQUESTS, STEP_ID, PROCEDURE_ID = "RequestAttributesSequence", "00400275.00400009", "00400275.00401001"

# PS3.18 tables 10.6.1-5 and 10.6.3-3 to -5: what may be matched, and where the catalog holds it.
KEYS: tuple[Key, ...] = (
    Key("StudyDate", "00080020", "date", "study", "study_date"),
    Key("StudyTime", "00080030", "time", "study", "study_time"),
    Key("AccessionNumber", "00080050", "text", "study", "accession_number"),
    Key("ModalitiesInStudy", "00080061", "codes", "study", "modalities"),
    Key("SOPClassesInStudy", "00080062", "uids", "study", "sop_classes"),
    Key("ReferringPhysicianName", "00080090", "name", "study", "referring_physician_name_folded"),
    Key("StudyDescription", "00081030", "text", "study", "study_description"),
    Key("PatientName", "00100010", "name", "study", "patient_name_folded"),
    Key("PatientID", "00100020", "text", "study", "patient_id"),
    Key("IssuerOfPatientID", "00100021", "text", "study", "issuer_of_patient_id"),
    Key("PatientBirthDate", "00100030", "date", "study", "patient_birth_date"),
    Key("PatientSex", "00100040", "code", "study", "patient_sex"),
    Key("StudyInstanceUID", "0020000D", "uid", "study", "study_uid"),
    Key("StudyID", "00200010", "text", "study", "study_id"),
    Key("NumberOfStudyRelatedSeries", "00201206", "number", "study", "series"),
    Key("NumberOfStudyRelatedInstances", "00201208", "number", "study", "instances"),
    Key("Modality", "00080060", "code", "series", "modality"),
    Key("SeriesDescription", "0008103E", "text", "series", "series_description"),
    Key("BodyPartExamined", "00180015", "code", "series", "body_part_examined"),
    Key("SeriesInstanceUID", "0020000E", "uid", "series", "series_uid"),
    Key("SeriesNumber", "00200011", "number", "series", "series_number"),
    Key("NumberOfSeriesRelatedInstances", "00201209", "number", "series", "instances"),
    Key("PerformedProcedureStepStartDate", "00400244", "date", "series", "performed_procedure_step_start_date"),
    Key("PerformedProcedureStepStartTime", "00400245", "time", "series", "performed_procedure_step_start_time"),
    Key(f"{REQUESTS}.ScheduledProcedureStepID", STEP_ID, "texts", "series", "scheduled_procedure_step_ids"),
    Key(f"{REQUESTS}.RequestedProcedureID", PROCEDURE_ID, "texts", "series", "requested_procedure_ids"),
    Key("SOPClassUID", "00080016", "uid", "instance", "sop_class"),
    Key("SOPInstanceUID", "00080018", "uid", "instance", "sop_uid"),
    Key("InstanceNumber", "00200013", "number", "instance", "instance_number"),
    Key("NumberOfFrames", "00280008", "number", "instance", "number_of_frames"),
    Key("Rows", "00280010", "number", "instance", "rows"),
    Key("Columns", "00280011", "number", "instance", "columns"),
    Key("BitsAllocated", "00280100", "number", "instance", "bits_allocated"),
)
BY_TAG: Mapping[str, Key] = {key.tag: key for key in KEYS}

# Parameters with a meaning of their own; accept and charset are for content negotiation.
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
    """Read a query string's pairs; the UIDs are those of the path. Raises BadQuery."""
    controls, wanted, ignored = _sort(parameters, level)
    rules = _Rules(_flag(controls, "emptyvaluematching"), _flag(controls, "multiplevaluematching"))
    matches = tuple(match for key, text in wanted.items() if (match := _match(BY_TAG[key], text, rules)))
    return Query(
        level=level,
        study_uid=study_uid,
        series_uid=series_uid,
        matches=matches,
        limit=min(_count(controls, "limit", limits.default_limit), limits.most_limit),
        offset=_count(controls, "offset", 0),
        include=_include(controls.get("includefield", [])),
        warnings=_warnings(controls, ignored),
    )


def tag_of(name: str) -> str | None:
    """Return the tag, in eight hex digits, that a keyword or a tag names; those of a path joined by dots.

    None when any name of the path names none.
    """
    tags = [_tag(part) for part in name.split(".", PATH_LENGTH)]
    return None if None in tags else ".".join(tag for tag in tags if tag)


def _tag(name: str) -> str | None:
    if re.fullmatch(r"[0-9A-Fa-f]{8}", name):
        return name.upper()
    tag = tag_for_keyword(name) if name else None  # the dictionary has an element without a keyword
    return None if tag is None else f"{tag:08X}"


def like_pattern(pattern: str) -> str:
    r"""Return a DICOM pattern as one of SQL's LIKE with the escape character \, so that only * and ? are wild."""
    escaped = re.sub(r"([\\%_])", r"\\\1", pattern)
    return escaped.replace("*", "%").replace("?", "_")


def accepts(match: Match, value: Any) -> bool:
    """True if a column's value meets the condition: what the SQL of the connector says, in Python."""
    if isinstance(value, tuple):
        return any(accepts(match, one) for one in value) or (match.operator == "empty" and not value)
    if match.operator == "empty":
        return value is None or value == ""
    return value is not None and ACCEPTS[match.operator](value, match.values)


def is_like(text: str, pattern: str) -> bool:
    """True if a text meets a DICOM pattern (* any run, ? one character); never more than quadratic."""
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


ACCEPTS: Mapping[str, Callable[[Any, tuple[Any, ...]], bool]] = {
    "equals": lambda value, values: bool(value == values[0]),
    "among": lambda value, values: value in values,
    "like": lambda value, values: any(is_like(value, pattern) for pattern in values),
    "between": _between,
}


def _sort(parameters: Parameters, level: Level) -> tuple[dict[str, list[str]], dict[str, str], list[str]]:
    """Divide the pairs into controls, texts to match by tag, and names that mean nothing here (PS3.18 8.3: ignored)."""
    controls: dict[str, list[str]] = {}
    wanted: dict[str, str] = {}
    ignored: list[str] = []
    for name, text in parameters:
        if name in CONTROLS:
            controls.setdefault(name, []).append(text)
        elif name not in NEGOTIATION:
            tag = tag_of(name)
            if tag is None or tag not in BY_TAG or LEVELS.index(BY_TAG[tag].level) > LEVELS.index(level):
                ignored.append(name)
            elif tag in wanted and BY_TAG[tag].kind in ("uid", "uids"):
                wanted[tag] += f",{text}"
            elif wanted.setdefault(tag, text) != text:
                raise BadQuery(f"{BY_TAG[tag].keyword} is given twice with different values: give it once")
    return controls, wanted, ignored


def _warnings(controls: Mapping[str, list[str]], ignored: list[str]) -> tuple[str, ...]:
    warnings = []
    if _flag(controls, "fuzzymatching"):
        warnings.append("The fuzzymatching parameter is not supported. Only literal matching has been performed.")
    # Names go into a header: only what can be an attribute's name is repeated.
    names = sorted({name for name in ignored if re.fullmatch(r"[A-Za-z0-9.]{1,80}", name)})[:8]
    if ignored:
        listed = f" ({', '.join(names)})" if names else ""
        warnings.append(f"Some parameters are not supported for matching at this level and were ignored{listed}.")
    return tuple(warnings)


def _one(controls: Mapping[str, list[str]], name: str) -> str | None:
    texts = set(controls.get(name, []))
    if len(texts) > 1:
        raise BadQuery(f"{name} is given twice with different values: give it once")
    return texts.pop() if texts else None


def _count(controls: Mapping[str, list[str]], name: str, default: int) -> int:
    text = _one(controls, name)
    if text is None:
        return default
    if not re.fullmatch("[0-9]+", text) or len(text) > DIGITS:
        raise BadQuery(f"{name} should be a whole number from 0 to {10**DIGITS - 1}")
    return int(text)


def _flag(controls: Mapping[str, list[str]], name: str) -> bool:
    text = _one(controls, name)
    if text not in (None, "true", "false"):
        raise BadQuery(f"{name} should be true or false")
    return text == "true"


def _include(texts: list[str]) -> frozenset[str] | None:
    names = {name.strip() for text in texts for name in text.split(",")}
    if "all" in {name.lower() for name in names}:
        return None
    return frozenset(tag.partition(".")[0] for name in names if (tag := tag_of(name)))


@dataclass(frozen=True)
class _Rules:
    """What two quotes and backslashes mean in this query (PS3.18 8.3.4.5 and 8.3.4.6)."""

    empties: bool
    multiples: bool


def _match(key: Key, text: str, rules: _Rules) -> Match | None:
    """Return the condition that a text asks for; None for universal matching (PS3.4 C.2.2.2.3)."""
    text = text.strip(" ")
    if len(text) > VALUE_CHARACTERS:
        raise BadQuery(f"the value of {key.keyword} is longer than {VALUE_CHARACTERS} characters: ask for less at once")
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise BadQuery(f"the value of {key.keyword} holds control characters: send UTF-8 text without them")
    if not text.strip("*"):
        return None
    if rules.empties and text == '""':
        return Match(key, "empty")
    if rules.multiples and "\\" in text and key.kind in MULTIPLE:
        return _any(key, text)
    return READERS[key.kind](key, text)


def _any(key: Key, text: str) -> Match | None:
    """Match any of several values, which backslashes divide (PS3.4 C.2.2.2.8): universal when one of them is."""
    texts = [part.strip(" ") for part in text.split("\\", VALUES)]
    if len(texts) > VALUES:
        raise BadQuery(f"{key.keyword} has more than {VALUES} values: ask for fewer at once")
    matches = [READERS[key.kind](key, one) for one in texts if one.strip("*")]
    if len(matches) < len(texts) or None in matches:
        return None
    values = tuple(dict.fromkeys(value for match in matches if match for value in match.values))
    is_plain = all(match and match.operator == "equals" for match in matches)
    return Match(key, "among" if is_plain else "like", values)


def _text(key: Key, text: str) -> Match:
    if "*" not in text and "?" not in text:
        return Match(key, "equals", (text,))
    _check_pattern(key, text)
    return Match(key, "like", (re.sub(r"\*+", "*", text),))


def _check_pattern(key: Key, pattern: str) -> None:
    """Refuse patterns that cost much and say little; codes are short, so one character says enough there."""
    literals = sum(c not in "*?" for c in pattern)
    if "*" in pattern and literals < LITERALS and key.kind in ("text", "name"):
        raise BadQuery(f"a wildcard in {key.keyword} needs at least {LITERALS} other characters beside it: give more")
    if len(re.findall(r"\*+", pattern)) > STARS:
        raise BadQuery(f"{key.keyword} has more than {STARS} wildcards *: use fewer")


def _name(key: Key, text: str) -> Match | None:
    """Match any component group whole, or all of them when the pattern has an = itself."""
    groups = (group.strip(" ").rstrip("^").rstrip(" ") for group in fold(text).split("="))
    pattern = re.sub(r"\*+", "*", "=".join(groups)).rstrip("=")
    if not pattern.strip("*"):
        return None
    _check_pattern(key, pattern)
    if "=" in pattern:
        return Match(key, "like", (pattern,))
    ends = (pattern,) if pattern.endswith("*") else (pattern, f"{pattern}=*")
    starts = () if pattern.startswith("*") else tuple(f"*={end}" for end in ends)
    return Match(key, "like", ends + starts)


def _uids(key: Key, text: str) -> Match:
    """Read a list of UIDs: with commas in QIDO, with backslashes in C-FIND."""
    uids = tuple(dict.fromkeys(uid.strip(" ") for uid in re.split(r"[,\\]", text)))
    if not all(is_uid(uid) for uid in uids):
        raise BadQuery(f"{key.keyword} should be UIDs (digits and dots, at most 64 characters) separated by commas")
    return Match(key, "among", uids)


def _number(key: Key, text: str) -> Match:
    if not re.fullmatch(r"[+-]?[0-9]{1,12}", text):
        raise BadQuery(f"{key.keyword} should be a whole number")
    return Match(key, "equals", (int(text),))


def _date(key: Key, text: str) -> Match:
    low, high = _range(text, lambda end: (_day(key, end),) * 2)
    return Match(key, "between", (low, high))


def _day(key: Key, text: str) -> date:
    try:
        if re.fullmatch(r"[0-9]{8}", text):
            return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        pass
    raise BadQuery(f"{key.keyword} should be a date as YYYYMMDD, or a range as YYYYMMDD-YYYYMMDD, -YYYYMMDD, YYYYMMDD-")


def _time(key: Key, text: str) -> Match:
    low, high = _range(text, lambda end: _moments(key, end))
    return Match(key, "between", (low, high))


def _moments(key: Key, text: str) -> tuple[time, time]:
    """Return the first and the last moment that a possibly partial time covers; second 60 is second 59 (PS3.5 6.2)."""
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
    raise BadQuery(f"{key.keyword} should be a time as HH, HHMM, HHMMSS or HHMMSS.FFFFFF, or a range a-b, -b, a-")


def _range(text: str, ends: Callable[[str], tuple[Any, Any]]) -> tuple[Any, Any]:
    """Read a-b, a-, -b, or one value alone (PS3.4 C.2.2.2.5)."""
    low, dash, high = (part.strip(" ") for part in text.partition("-"))
    if not dash or not (low or high):
        return ends(text)
    return ends(low)[0] if low else None, ends(high)[1] if high else None


# Kinds of which several values can be asked for at once; UIDs can be anyway.
MULTIPLE: frozenset[Kind] = frozenset({"text", "texts", "code", "codes", "name", "number"})
READERS: Mapping[Kind, Callable[[Key, str], Match | None]] = {
    "text": _text,
    "code": _text,
    "codes": _text,
    "texts": _text,
    "name": _name,
    "uid": _uids,
    "uids": _uids,
    "date": _date,
    "time": _time,
    "number": _number,
}
