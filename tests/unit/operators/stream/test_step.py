"""A stop crosses the engine as text."""

import pytest

from operators.stream.step import Stop


@pytest.mark.parametrize("why", ["", "one line", "with: a colon: and another"])
def test_a_stop_is_read_back_from_its_text(why: str) -> None:
    stop = Stop("too-many-rejected", why)

    assert Stop.of(str(stop)) == stop
