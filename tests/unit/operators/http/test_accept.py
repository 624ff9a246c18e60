"""Accept headers are parsed with parameters, quotes and weights (RFC 9110 12.5.1, PS3.18 8.7)."""

import time

import pytest

from operators.http.accept import MOST_RANGES, MediaRange, accepted, choose, parse_accept
from operators.http.media_types import JSON_TYPES


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("*/*", [MediaRange("*/*", False, None, 1.0)]),
        ("Application/DICOM ; Transfer-Syntax=1.2", [MediaRange("application/dicom", False, "1.2", 1.0)]),
        (
            'multipart/related; type="application/dicom"; transfer-syntax="*"',
            [MediaRange("application/dicom", True, "*", 1.0)],
        ),
        ("multipart/related;type=image/jp2;q=0.5", [MediaRange("image/jp2", True, None, 0.5)]),
        ("multipart/related", [MediaRange("*/*", True, None, 1.0)]),
        ("multipart/mixed", [MediaRange("multipart/mixed", True, None, 1.0)]),
        ('a/b; x="q;q=0,\\""; q=0.7', [MediaRange("a/b", False, None, 0.7)]),
        ("a/b;q=0.1, c/d;q=0.9, e/f", [MediaRange("e/f", False, None, 1.0), MediaRange("c/d", False, None, 0.9)]),
        ("a/b;q=0", []),
        ("a/b;q=2", []),
        ("a/b;q=nan", []),
        ("", []),
        ("a/b, ???", [MediaRange("a/b", False, None, 1.0)]),
    ],
)
def test_an_accept_header_is_parsed_into_ranges(text: str, wanted: list[MediaRange]) -> None:
    assert list(parse_accept(text))[: len(wanted) or 1] == wanted


@pytest.mark.parametrize(
    ("text", "media_type"),
    [
        ("*/*", "application/dicom+json"),
        ("application/*", "application/dicom+json"),
        ("application/json;q=0.1, text/html", "application/json"),
        ("application/dicom+json;q=0, */*", "application/json"),
        ("application/*;q=0, */*", None),
        ("*/*;q=0, application/json", "application/json"),
        ('multipart/related; type="application/dicom+json"', None),
        ("text/html", None),
    ],
)
def test_the_best_accepted_media_type_is_chosen(text: str, media_type: str | None) -> None:
    assert choose(parse_accept(text), JSON_TYPES) == media_type


@pytest.mark.parametrize(
    ("query", "headers", "media_types"),
    [
        (b"", [], ["*/*"]),
        (b"", [(b"accept", b"a/b"), (b"Accept", b"c/d")], ["a/b", "c/d"]),
        (b"limit=1&accept=application/dicom+json", [(b"accept", b"a/b")], ["application/dicom+json"]),
        (b"accept=application%2Fdicom%2Bjson&accept=e/f;q=0.5", [], ["application/dicom+json", "e/f"]),
    ],
)
def test_the_query_parameter_overrides_the_header(
    query: bytes, headers: list[tuple[bytes, bytes]], media_types: list[str]
) -> None:
    ranges = accepted({"query_string": query, "headers": headers})

    assert [one.media_type for one in ranges] == media_types


HOSTILE = 400_000


@pytest.mark.parametrize(
    "text",
    [
        ";  " * HOSTILE + "x x",
        "a/b" + "; " * HOSTILE,
        'a/b; c="' + "\\" * HOSTILE,
        '"' + '\\"' * HOSTILE,
        'a/b; c="' + '\\"' * HOSTILE,
        "a" * HOSTILE + " b",
        "a/b," * HOSTILE,
        "a/b" + "; c=d" * HOSTILE + "?",
    ],
    ids=range(8),
)
def test_a_hostile_header_takes_little_time(text: str) -> None:
    began = time.process_time()

    assert len(parse_accept(text)) <= MOST_RANGES
    assert time.process_time() - began < 0.5
