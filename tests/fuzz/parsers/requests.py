"""The parsers of searches and of Accept headers, and what they promise."""

from urllib.parse import parse_qsl

from operators.catalog.query import Query, is_like, parse
from operators.dicom.attributes import LEVELS
from operators.errors import BadQuery
from operators.http.accept import choose, parse_accept
from operators.http.media_types import JSON_TYPES


def check_query(data: bytes) -> None:
    """Check that search parameters become a query or raise BadQuery."""
    text = data.decode("utf-8", "surrogateescape")
    pairs = parse_qsl(text, keep_blank_values=True)
    for level in LEVELS:
        try:
            _check_matches(parse(pairs, level), text)
        except BadQuery as bad:
            # The text goes to the client: it must not repeat bytes of the request.
            assert str(bad).isprintable()  # noqa: PT017 - the wording is free


def _check_matches(query: Query, text: str) -> None:
    assert 0 <= query.limit <= 1000
    assert query.offset >= 0
    for warning in query.warnings:
        assert warning.isascii()
        assert warning.isprintable()
    for match in query.matches:
        if match.operator == "like":
            assert all(is_like(text[:200], str(pattern)) in (True, False) for pattern in match.values)


def query_seeds() -> list[bytes]:
    """Return searches with every kind of key."""
    return [
        b"PatientName=M%C3%BCl*&00100020=1?2&StudyDate=20250101-20251231&StudyTime=10-1130&limit=5&offset=2",
        b"StudyInstanceUID=1.2,3.4&ModalitiesInStudy=CT\\MR&includefield=all&fuzzymatching=true&Rows=512",
        b"SOPClassUID=1.2&includefield=00100010,StudyDate&emptyvaluematching=true&StudyDescription=%22%22&x.y=1",
        b"00400275.00400007=a*&PerformedProcedureStepStartTime=235960.1&StudyTime=-10",
    ]


PUMPED_CHARACTERS = 32 * 1024


def check_accept(data: bytes) -> None:
    """Check that an Accept header becomes media ranges, best first, and takes no more time when it is repeated."""
    text = data.decode("latin-1")
    for said in (text, text * (PUMPED_CHARACTERS // max(len(text), 1))):
        ranges = parse_accept(said)
        weights = [one.weight for one in ranges]
        assert weights == sorted(weights, reverse=True)
        assert all(0 < weight <= 1 for weight in weights)
        assert choose(ranges, JSON_TYPES) in (None, *JSON_TYPES)


def accept_seeds() -> list[bytes]:
    """Return well formed and malformed lists of media ranges."""
    return [
        b'multipart/related; type="application/octet-stream"; transfer-syntax=*; q=0.5, image/jpeg, */*;q=0.1, ',
        b"application/dicom+json;q=0, */*, ",
        b'\\"',
        b'a/b; c="\\"; d=e ;',
    ]
