"""What only a newer release can read is a reason to stop, not to try again."""

import pytest

from operators.stream.newer_release import UnknownState, stop_of
from operators.stream.step import Stop
from schemas.codec import UnknownSchema


@pytest.mark.parametrize(("error", "reason"), [(UnknownSchema, "unknown-schema"), (UnknownState, "unknown-state")])
def test_the_stop_has_the_text_of_the_error(error: type[UnknownSchema | UnknownState], reason: str) -> None:
    assert stop_of(error("x/1 at offset 7")) == Stop(reason, "x/1 at offset 7")
