"""Connections to the catalog are encrypted by the settings, and say why they fail."""

import asyncio

import pytest

from operators.connectors.postgres.connecting import connected, parameters
from operators.connectors.postgres.queries import PostgresQueries
from operators.errors import Unavailable
from schemas.settings.servers import CatalogSettings


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (CatalogSettings(), ("prefer", None)),
        (CatalogSettings(sslmode="require"), ("require", None)),
        (CatalogSettings(tls_ca="/ca.pem"), ("verify-full", "/ca.pem")),
        (CatalogSettings(tls_ca="/ca.pem", sslmode="verify-ca"), ("verify-ca", "/ca.pem")),
        (CatalogSettings(tls_ca="system"), ("verify-full", "system")),
    ],
)
def test_with_authorities_the_servers_certificate_and_name_are_checked(
    settings: CatalogSettings, wanted: tuple[str, str | None]
) -> None:
    given = parameters(settings, "test")

    assert (given["sslmode"], given.get("sslrootcert")) == wanted


def test_a_connection_that_fails_names_server_and_role_and_the_cause_in_a_line() -> None:
    settings = CatalogSettings(port=1)

    with pytest.raises(Unavailable) as caught, connected(settings, "test", ""):
        pass

    assert caught.value.why.startswith("127.0.0.1:1, role reader: ")
    assert caught.value.why.endswith("Connection refused")
    assert "\n" not in caught.value.why


def test_a_pool_that_cannot_connect_says_why_and_writes_no_lines_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    async def search() -> None:
        async with PostgresQueries(CatalogSettings(port=1)) as queries:
            await queries.check()

    with pytest.raises(Unavailable) as caught:
        asyncio.run(search())

    assert caught.value.why.endswith("Connection refused")
    assert capfd.readouterr().err == ""
