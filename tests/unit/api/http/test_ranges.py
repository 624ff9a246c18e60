"""A Range header is parsed to spans, and a hostile header does no harm (RFC 9110 14)."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.ranges import Span, parse_range
from operators.http.problem import Problem


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        (None, ()),
        ("bytes=0-9", ((0, 10),)),
        ("Bytes= 5-5 ", ((5, 6),)),
        ("bytes=990-", ((990, 1000),)),
        ("bytes=-1", ((999, 1000),)),
        ("bytes=-5000", ((0, 1000),)),
        ("bytes=0-99999", ((0, 1000),)),
        ("bytes=0-9,500-509", ((0, 10), (500, 510))),
        ("bytes=500-509,0-9", ((0, 10), (500, 510))),
        ("bytes=0-9,5-20,21-30", ((0, 31),)),
        ("bytes=0-9,50-59", ((0, 60),)),
        ("bytes=0-9,2000-", ((0, 10),)),
        ("bytes=9-0", ()),
        ("bytes=-", ()),
        ("bytes=a-b", ()),
        ("bytes=0-9;", ()),
        ("items=0-9", ()),
        ("", ()),
    ],
)
def test_a_range_header_is_parsed_to_spans(text: str | None, spans: tuple[tuple[int, int], ...]) -> None:
    assert parse_range(text, 1000, 10) == spans


@pytest.mark.parametrize("text", ["bytes=1000-", "bytes=-0", "bytes=2000-3000,4000-", "bytes=" + "0-1," * 10 + "0-1"])
def test_ranges_outside_the_value_and_more_than_ten_ranges_are_416_with_its_size(text: str) -> None:
    with pytest.raises(Problem) as refused:
        parse_range(text, 1000, 10)

    assert refused.value.status == 416
    assert refused.value.headers == {"content-range": "bytes */1000"}


@given(st.text("0123456789-, =bytes", max_size=60), st.integers(0, 2000))
def test_spans_are_sorted_and_separate_and_within_the_value(text: str, size_bytes: int) -> None:
    try:
        spans = parse_range(f"bytes={text}", size_bytes, 10)
    except Problem:
        spans = ()

    assert all(0 <= span.start < span.end <= size_bytes for span in spans)
    assert all(before.end < after.start for before, after in pairwise(spans))
    assert len(spans) <= 10


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 999)), min_size=1, max_size=10))
def test_every_requested_byte_is_in_a_span(pairs: list[tuple[int, int]]) -> None:
    ordered = [(min(pair), max(pair)) for pair in pairs]
    spans = parse_range("bytes=" + ",".join(f"{first}-{last}" for first, last in ordered), 1000, 10)

    assert all(any(span.start <= first and last < span.end for span in spans) for first, last in ordered)


def test_a_hostile_header_takes_little_time() -> None:
    began = time.process_time()
    with pytest.raises(Problem):
        parse_range("bytes=" + "0-," * 10**6, 1000, 10)
    parse_range("bytes=" + " " * 10**6, 1000, 10)

    assert time.process_time() - began < 0.5


def test_a_span_has_its_content_range() -> None:
    assert Span(5, 10).content_range(20) == "bytes 5-9/20"
