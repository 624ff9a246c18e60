"""The parts of a body are those of RFC 2046; a body that has none, or exceeds a limit, is rejected with a reason."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from gateway.stow.multipart import MediaType, MultipartLimits, PartBegun, PartEnded, Scanner
from operators.errors import Rejected

LIMITS = MultipartLimits(parts=10_000, headers=32, header_bytes=8192, outside_bytes=1024)
Part = tuple[dict[str, str], bytes]


def parts_of(chunks: Iterable[bytes], boundary: str = "B", limits: MultipartLimits = LIMITS) -> list[Part]:
    """Return the parts of a body; raises Rejected as the scanner does."""
    scanner, parts, ended = Scanner(boundary, limits), list[tuple[dict[str, str], bytearray]](), 0
    for chunk in chunks:
        for found in scanner.feed(chunk):
            match found:
                case PartBegun():
                    assert len(parts) == ended
                    parts.append((dict(found.headers), bytearray()))
                case PartEnded():
                    ended += 1
                case _:
                    assert len(parts) == ended + 1
                    parts[-1][1].extend(found)
    scanner.finish()
    assert len(parts) == ended
    return [(headers, bytes(body)) for headers, body in parts]


def refusal(body: bytes, limits: MultipartLimits = LIMITS) -> str:
    with pytest.raises(Rejected) as refused:
        parts_of([body], limits=limits)
    return refused.value.reason


def test_each_part_has_its_headers_and_exactly_its_bytes() -> None:
    body = b"--B\r\nContent-Type: application/dicom\r\nX-A: b\r\n\r\none\r\n\r\n--B\r\n\r\n\r\n--Ctwo\r\n--B--\r\n"

    assert parts_of([body]) == [
        ({"content-type": "application/dicom", "x-a": "b"}, b"one\r\n"),
        ({}, b"\r\n--Ctwo"),
    ]


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (b"--B\r\n\r\nx\r\n--B--", b"x"),
        (b"before\r\n--B\r\n\r\nx\r\n--B--\r\nafter", b"x"),
        (b"\r\n--B\r\n\r\nx\r\n--B--\r\n", b"x"),
        (b"--B \t\r\n\r\nx\r\n--B--\t\r\n", b"x"),
        (b"--B\r\n\r\n\r\n--B--", b""),
        (b"--B\r\nA: b\r\n\r\n--B--", b""),
        (b"--B\r\n\r\n\r\n\r\n--B--", b"\r\n"),
        (b"--B\r\n\r\n\r--B\n--B\r\r\n-\r\n--\r\n--B--", b"\r--B\n--B\r\r\n-\r\n--"),
    ],
    ids=["bare", "around", "line-break-first", "padding", "empty", "no-body", "line-break", "nearly-boundaries"],
)
def test_every_form_of_a_body_is_understood(body: bytes, content: bytes) -> None:
    assert [found for _, found in parts_of([body])] == [content]


def test_a_folded_header_is_one_line() -> None:
    body = b"--B\r\nContent-Type: application/dicom;\r\n\ttransfer-syntax=1.2\r\n\r\nx\r\n--B--"

    assert parts_of([body])[0][0] == {"content-type": "application/dicom; transfer-syntax=1.2"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "multipart-unfinished"),
        (b"--B\r\n\r\nx", "multipart-unfinished"),
        (b"--B\r\n\r\nx\r\n--B", "multipart-unfinished"),
        (b"--B\n\nx\n--B--", "multipart-unfinished"),
        (b"--Bx\r\n\r\nx\r\n--B--", "multipart-boundary-line"),
        (b"--B\r\n\r\nx\r\n--B--x", "multipart-boundary-line"),
        (b"--B" + b" " * 70 + b"\r\n\r\nx\r\n--B--", "multipart-boundary-line"),
        (b"--B\r\nno colon\r\n\r\nx\r\n--B--", "multipart-header"),
        (b"--B\r\nA : b\r\n\r\nx\r\n--B--", "multipart-header"),
        (b"--B\r\nA: b\nC: d\r\n\r\nx\r\n--B--", "multipart-header"),
        (b"--B\r\nA: b\r\na: c\r\n\r\nx\r\n--B--", "multipart-header"),
        (b"--B\r\n A: b\r\n\r\nx\r\n--B--", "multipart-header"),
        (b"--B\r\nContent-Type: Multipart/Mixed; boundary=C\r\n\r\nx\r\n--B--", "multipart-nested"),
    ],
)
def test_bytes_that_are_no_multipart_body_are_rejected_with_a_reason(body: bytes, reason: str) -> None:
    assert refusal(body) == reason


def body_of(headers: bytes = b"", parts: int = 1, before: bytes = b"", after: bytes = b"") -> bytes:
    return before + b"\r\n" + (b"--B\r\n" + headers + b"\r\nx\r\n") * parts + b"--B--\r\n" + after


@pytest.mark.parametrize(
    ("limits", "fits", "too_much", "reason"),
    [
        (replace(LIMITS, parts=3), body_of(parts=3), body_of(parts=4), "multipart-parts"),
        (
            replace(LIMITS, headers=2),
            body_of(b"A: 1\r\nB: 2\r\n"),
            body_of(b"A: 1\r\nB: 2\r\nC: 3\r\n"),
            "multipart-headers",
        ),
        (
            replace(LIMITS, header_bytes=8),
            body_of(b"A: 23456\r\n"),
            body_of(b"A: 234567\r\n"),
            "multipart-header-bytes",
        ),
        (
            replace(LIMITS, outside_bytes=4),
            body_of(before=b"1234"),
            body_of(before=b"12345"),
            "multipart-preamble",
        ),
        (replace(LIMITS, outside_bytes=4), body_of(after=b"12"), body_of(after=b"123"), "multipart-epilogue"),
    ],
)
def test_each_limit_holds_to_the_byte_whatever_the_chunks(
    limits: MultipartLimits, fits: bytes, too_much: bytes, reason: str
) -> None:
    single = [too_much[at : at + 1] for at in range(len(too_much))]

    assert parts_of([fits], limits=limits)
    assert refusal(too_much, limits) == reason
    with pytest.raises(Rejected, match=reason):
        parts_of(single, limits=limits)


@pytest.mark.parametrize("boundary", ["", "x" * 71, "a b ", "a\r", "a\n", "ä", "a;b", 'a"'])
def test_a_boundary_of_other_characters_or_more_than_70_is_rejected(boundary: str) -> None:
    with pytest.raises(Rejected, match="multipart-boundary"):
        Scanner(boundary, LIMITS)


def test_a_boundary_of_70_characters_is_accepted() -> None:
    boundary = "'()+_,-./:=? 0" * 5

    assert parts_of([f"--{boundary}\r\n\r\nx\r\n--{boundary}--".encode()], boundary) == [({}, b"x")]


def test_the_bytes_of_a_part_are_views_of_the_chunks() -> None:
    scanner, chunk = Scanner("B", LIMITS), bytes(1000)
    list(scanner.feed(b"--B\r\n\r\nx"))

    (piece,) = scanner.feed(chunk)

    assert isinstance(piece, memoryview)
    assert piece.obj is chunk


@pytest.mark.parametrize(
    ("text", "name", "parameters"),
    [
        ("application/dicom", "application/dicom", {}),
        (" Multipart/Related ; Type=application/dicom; boundary=b", "multipart/related", {"type": "application/dicom"}),
        ('multipart/related; type="application/dicom"; ', "multipart/related", {"type": "application/dicom"}),
        ('a/b; x="a\\";c"', "a/b", {"x": 'a";c'}),
    ],
)
def test_a_media_type_is_read_quoted_or_not(text: str, name: str, parameters: dict[str, str]) -> None:
    found = MediaType.of(text)

    assert found.name == name
    assert parameters.items() <= found.parameters.items()


@pytest.mark.parametrize("text", ["", "dicom", "a/b; x", "a/b; x=1; X=2", 'a/b; x="1', "a/b c/d", "a/b, c/d"])
def test_a_text_that_is_no_media_type_is_rejected(text: str) -> None:
    with pytest.raises(Rejected, match="multipart-media-type"):
        MediaType.of(text)
