"""A title or network of the DIMSE door that has the wrong form is refused, and the message names the right form."""

import pytest

from schemas.settings.dimse import DimseSettings
from schemas.settings.reading import SettingsError, load


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("FLUORO_DIMSE_AE_TITLE", "", "1 to 16 printable characters, no space or \\"),
        ("FLUORO_DIMSE_ONLY_CALLED_AE", "TWO WORDS", "empty, or 1 to 16 printable characters, no space or \\"),
        ("FLUORO_DIMSE_BALANCERS", "10.1.0.1/16", "networks separated by commas, such as 10.1.0.0/16,10.2.0.0/16"),
    ],
)
def test_a_value_of_the_wrong_form_is_refused_with_the_right_form(name: str, value: str, wanted: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(DimseSettings, {name: value})

    assert str(caught.value) == f"{name}: should be {wanted}"
