"""Laws of the query parser: any string is read or refused, and a pattern matches as the standard defines."""

import re

from hypothesis import given
from hypothesis import strategies as st

from operators.catalog.query import BY_PATH, is_like, is_met, like_pattern, parse
from operators.dicom.attributes import LEVELS, Level
from operators.errors import BadQuery

NAMES = st.one_of(
    st.sampled_from([attribute.keyword for attribute in BY_PATH.values()] + [*BY_PATH]),
    st.sampled_from(["limit", "offset", "includefield", "fuzzymatching", "emptyvaluematching", "accept"]),
    st.sampled_from(
        ["multiplevaluematching", "00400275.ScheduledProcedureStepID", "RequestAttributesSequence.00401001"]
    ),
    st.lists(st.sampled_from(["00400275", "PatientID", "x", ""]), max_size=12).map(".".join),
    st.text(),
)
VALUES = st.one_of(st.text(), st.sampled_from(["true", "false", '""']), st.text("ab1*?\\-=^,.", max_size=12))
ALPHABET = "ab%_\\*?é山"


def sql_like(text: str, pattern: str) -> bool:
    r"""True if a text meets a pattern of PostgreSQL's LIKE: % is any run, _ one character, \ an escape."""
    pieces = re.findall(r"\\.|.", pattern, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    regex = "".join(wild.get(piece, re.escape(piece.removeprefix("\\") or "\\")) for piece in pieces)
    return re.fullmatch(regex, text, re.DOTALL) is not None


def dicom_like(text: str, pattern: str) -> bool:
    """True if a text meets a pattern by the definition of PS3.4 C.2.2.2.4."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(dicom_like(text[at:], pattern[1:]) for at in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and dicom_like(text[1:], pattern[1:])


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.sampled_from(LEVELS))
def test_any_parameters_are_read_or_refused_with_advice(pairs: list[tuple[str, str]], level: Level) -> None:
    try:
        query = parse(pairs, level)
    except BadQuery as refused:
        advice: tuple[str, ...] = (str(refused),)
    else:
        advice = query.warnings

    assert all(text.isascii() and text.isprintable() and text for text in advice)


@given(st.text(ALPHABET, max_size=8), st.text(ALPHABET, max_size=6))
def test_a_pattern_matches_as_the_standard_defines(text: str, pattern: str) -> None:
    assert is_like(text, pattern) == dicom_like(text, pattern)


@given(st.text(ALPHABET, max_size=8), st.text(ALPHABET, max_size=6))
def test_the_pattern_for_sql_matches_the_same_texts(text: str, pattern: str) -> None:
    assert sql_like(text, like_pattern(pattern)) == dicom_like(text, pattern)


@given(st.text("aÄ^= ", min_size=1, max_size=8))
def test_a_name_without_wildcards_matches_itself_in_any_case(name: str) -> None:
    (*_,) = matches = parse([("PatientName", name.upper())], "study").matches
    folded = parse([("PatientName", name)], "study").matches

    assert matches == folded


@given(st.text("ab", min_size=2, max_size=5), st.text("ab^", max_size=5))
def test_any_component_group_of_a_name_matches(group: str, other: str) -> None:
    (match,) = parse([("PatientName", group)], "study").matches

    assert is_met(match, f"{group}={other}")
    assert is_met(match, f"{other}={group}")
    assert is_met(match, f"{other}={group}={other}")
    assert not is_met(match, f"{group}c={other}c")
