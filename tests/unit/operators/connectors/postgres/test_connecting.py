"""How connections to the catalog are encrypted, by the settings."""

import pytest

from operators.connectors.postgres.connecting import parameters
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
