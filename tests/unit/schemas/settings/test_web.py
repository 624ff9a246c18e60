"""The web origin, which cannot tell who asks, listens on this machine alone."""

import pytest

from schemas.settings.reading import SettingsError, load
from schemas.settings.web import ApiSettings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_a_loopback_address_is_taken(host: str) -> None:
    assert load(ApiSettings, {"FLUORO_API_HOST": host}).host == host


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.1.2.3", "fe80::1", "pacs.example.org"])  # noqa: S104
def test_an_address_beyond_this_machine_is_refused_with_what_is_missing(host: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(ApiSettings, {"FLUORO_API_HOST": host})

    (line,) = str(caught.value).splitlines()
    assert line.startswith("FLUORO_API_HOST: should be a loopback address")
    assert "no TLS and no access control yet" in line
