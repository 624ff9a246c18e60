"""The parts of a body depend on neither its cutting into chunks nor the spelling of its type; other parsers agree."""

import email
import email.policy
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.stow.multipart import MediaType
from operators.errors import Rejected
from tests.unit.gateway.stow.test_multipart import Part, parts_of

# Contents that look like boundaries more often than random bytes do.
PIECES = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"-", b"--", b"--B", b"--BB", b"\r\n--", b"x", b": ", b"\0", b"A", b" "]
)
CONTENT = st.lists(st.one_of(PIECES, st.binary(max_size=8)), max_size=12).map(b"".join)
CUTS = st.lists(st.integers(0, 400), max_size=20)
BOUNDARY = "B"


def cut(body: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(body), *(place for place in places if place < len(body))})
    return [body[start:end] for start, end in pairwise(edges)]


def outcome(chunks: list[bytes]) -> list[Part] | str:
    try:
        return parts_of(chunks)
    except Rejected as error:
        return error.reason


@given(body=st.lists(CONTENT, max_size=5).map(b"\r\n--B\r\n\r\n".join), places=CUTS)
def test_any_bytes_cut_anywhere_have_the_same_parts(body: bytes, places: list[int]) -> None:
    assert outcome(cut(body, places)) == outcome([body])


@given(CONTENT)
@example(b"--B\r\nA: b\r\n\r\n--B--")
def test_bytes_one_at_a_time_have_the_same_parts(body: bytes) -> None:
    framed = b"--B\r\n\r\n" + body + b"\r\n--B--"

    assert outcome([framed[at : at + 1] for at in range(len(framed))]) == outcome([framed])


@given(contents=st.lists(CONTENT.filter(lambda content: b"\r\n--B" not in b"\r\n" + content), max_size=5), places=CUTS)
def test_the_contents_of_a_well_formed_body_are_its_parts(contents: list[bytes], places: list[int]) -> None:
    parts = b"".join(b"--B\r\nA: b\r\n\r\n" + content + b"\r\n" for content in contents)

    found = outcome(cut(b"ignored\r\n" + parts + b"--B--\r\nignored" if parts else b"--B--", places))

    assert found == [({"a": "b"}, content) for content in contents]


TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
LINES = st.lists(TEXT, max_size=4).map(lambda lines: "\r\n".join(lines).encode())


@given(contents=st.lists(LINES.filter(lambda lines: b"--B" not in lines), min_size=1, max_size=4), places=CUTS)
def test_the_standard_librarys_parser_finds_the_same_parts_in_well_formed_bodies(
    contents: list[bytes], places: list[int]
) -> None:
    parts = (b"--B\r\nContent-Type: text/plain\r\n\r\n" + content + b"\r\n" for content in contents)
    body = b"".join(parts) + b"--B--\r\n"
    message = email.message_from_bytes(
        b"Content-Type: multipart/related; boundary=B\r\n\r\n" + body, policy=email.policy.HTTP
    )

    theirs = [bytes(part.get_payload(decode=True)) for part in message.iter_parts()]

    assert [content for _, content in parts_of(cut(body, places))] == theirs


TOKEN_CHARACTERS = "0123456789abcXYZ'+_-."
QUOTED_CHARACTERS = TOKEN_CHARACTERS + "(),/:=?"
BLANKS = st.text(" \t", max_size=2)


def cased(text: str) -> st.SearchStrategy[str]:
    return st.sampled_from((text, text.upper(), text.title()))


def quoted(text: str) -> str:
    return f'"{text}"'


@st.composite
def content_types(draw: st.DrawFn) -> tuple[str, str]:
    """Draw a Content-Type and its boundary, which is written bare wherever clients write it so."""
    boundary = draw(st.text(QUOTED_CHARACTERS, min_size=1, max_size=70))
    written = draw(st.sampled_from((boundary, quoted(boundary))))
    parameters = [f"{draw(cased('boundary'))}={written}"]
    if draw(st.booleans()):
        parameters.append(
            f"{draw(cased('type'))}={draw(st.sampled_from(('application/dicom', quoted('application/dicom'))))}"
        )
    parameters += draw(
        st.lists(st.sampled_from(('start="<1@a>"', 'start-info="a\\"b;c"', "charset=utf-8")), unique=True)
    )
    text = draw(cased("multipart/related"))
    for parameter in draw(st.permutations(parameters)):
        text += f"{draw(BLANKS)};{draw(BLANKS)}{parameter}"
    return text + draw(st.sampled_from(("", ";", " ; ", ";;"))), boundary


@given(content_types())
def test_a_boundary_is_found_in_every_spelling(spelling: tuple[str, str]) -> None:
    text, boundary = spelling
    found = MediaType.of(text)

    assert (found.name, found.parameters["boundary"]) == ("multipart/related", boundary)
    assert found.parameters.get("type", "application/dicom") == "application/dicom"
