"""The parameters of a request for a rendered image are read, or refused with advice (PS3.18 8.3.5)."""

import pytest

from operators.errors import BadQuery
from operators.imaging.gray import Window
from operators.imaging.request import Rendering, Viewport, parse_rendering, parse_thumbnail


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, Rendering()),
        ({"window": "40,400,linear"}, Rendering(window=Window(40, 400))),
        ({"window": "-40.5, 0.5 ,linear-exact"}, Rendering(window=Window(-40.5, 0.5, "LINEAR_EXACT"))),
        ({"window": "1e2,1,SIGMOID"}, Rendering(window=Window(100, 1, "SIGMOID"))),
        ({"viewport": "100,50"}, Rendering(viewport=Viewport(100, 50))),
        ({"viewport": "100,50,,,-20"}, Rendering(viewport=Viewport(100, 50, 0, 0, -20))),
        ({"viewport": "100,50,1.5,2,30,-40"}, Rendering(viewport=Viewport(100, 50, 1.5, 2, 30, -40))),
        ({"quality": "100"}, Rendering(quality=100)),
        ({"annotation": "patient", "iccprofile": "no", "accept": "image/png"}, Rendering()),
    ],
)
def test_valid_parameters_are_read(query: dict[str, str], wanted: Rendering) -> None:
    assert parse_rendering(query.items(), "image/jpeg") == wanted


@pytest.mark.parametrize(
    "query",
    [
        *({"window": text} for text in ("", "40", "40,400", "a,400,linear", "40,0,linear", "40,0.5,linear", "1,2,3")),
        *(
            {"window": text}
            for text in ("nan,1,linear", "inf,1,linear", "40,400,linear,", "40,-1,sigmoid", "1e99999,1,linear")
        ),
        *(
            {"viewport": text}
            for text in ("", "10", "0,10", "10,-1", "1.5,1", "9999,1", "1,1,-1,0", "1,1,0,0,0,1", "1,1,1,1,1,1,1")
        ),
        *({"quality": text} for text in ("", "0", "101", "-1", "1.5", "a", "²")),
    ],
)
def test_invalid_parameters_are_refused_without_repeating_their_value(query: dict[str, str]) -> None:
    with pytest.raises(BadQuery) as error:
        parse_rendering(query.items(), "image/jpeg")

    assert "takes" in str(error.value)
    assert not [value for value in query.values() if len(value) > 3 and value in str(error.value)]


def test_a_parameter_given_twice_is_refused() -> None:
    with pytest.raises(BadQuery, match="once"):
        parse_rendering([("quality", "1"), ("quality", "2")], "image/jpeg")


def test_a_thumbnail_is_small_unless_another_size_is_requested() -> None:
    assert parse_thumbnail([], "image/jpeg", 128).viewport == Viewport(128, 128, only_shrinks=True)
    assert parse_thumbnail([("viewport", "32,16")], "image/jpeg", 128).viewport == Viewport(32, 16)
    with pytest.raises(BadQuery, match="thumbnail"):
        parse_thumbnail([("viewport", "32,16,0,0")], "image/jpeg", 128)
