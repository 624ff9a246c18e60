"""A law of STOW-RS requests: however a client spells multipart/related, its boundary is found (RFC 2045 5.1, 2387 3)."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.stow.multipart import MediaType

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
