"""Accept headers: parameters, quotes, weights (RFC 9110 12.5.1, PS3.18 8.7)."""

import time

import pytest

from api.negotiate import Wanted, parse_accept


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("*/*", [Wanted("*/*", False, None, 1.0)]),
        ("Application/DICOM ; Transfer-Syntax=1.2", [Wanted("application/dicom", False, "1.2", 1.0)]),
        (
            'multipart/related; type="application/dicom"; transfer-syntax="*"',
            [Wanted("application/dicom", True, "*", 1.0)],
        ),
        ("multipart/related;type=image/jp2;q=0.5", [Wanted("image/jp2", True, None, 0.5)]),
        ("multipart/related", [Wanted("*/*", True, None, 1.0)]),
        ("multipart/mixed", [Wanted("multipart/mixed", True, None, 1.0)]),
        ('a/b; x="q;q=0,\\""; q=0.7', [Wanted("a/b", False, None, 0.7)]),
        ("a/b;q=0.1, c/d;q=0.9, e/f", [Wanted("e/f", False, None, 1.0), Wanted("c/d", False, None, 0.9)]),
        ("a/b;q=0", []),
        ("a/b;q=2", []),
        ("a/b;q=nan", []),
        ("", []),
        ("a/b, ???", [Wanted("a/b", False, None, 1.0)]),
    ],
)
def test_an_accept_header_reads_as(text: str, wanted: list[Wanted]) -> None:
    assert list(parse_accept(text))[: len(wanted) or 1] == wanted


@pytest.mark.parametrize(
    "text", [";  " * 4000 + "x x", "a/b" + "; " * 4000, 'a/b; c="' + "\\" * 8000, "a" * 8000 + " b"]
)
def test_a_hostile_header_costs_no_time(text: str) -> None:
    began = time.process_time()
    parse_accept(text)

    assert time.process_time() - began < 0.5
