"""The settings of servers are refused, with a line for each problem, where a connection with them could not work."""

from pathlib import Path

import pytest

from schemas.settings.reading import SettingsError, load
from schemas.settings.servers import BrokerSettings, CatalogSettings, StoreSettings

PEM = "-----BEGIN CERTIFICATE-----\n"
NO_PEM = "should be a file of certificates in PEM form that can be read"


def problems(kind: type[object], **env: str) -> list[str]:
    """Return the lines with which these variables are refused."""
    try:
        load(kind, env)
    except SettingsError as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize("prefix", ["x", "fluoro-", "clinic-7.archive-", "a" * 53])
def test_buckets_may_have_any_prefix_that_s3_takes(prefix: str) -> None:
    assert not problems(StoreSettings, FLUORO_STORE_BUCKET_PREFIX=prefix)


@pytest.mark.parametrize("prefix", ["", "-x", "Clinic-", "a/b", "a" * 54])
def test_a_prefix_that_no_bucket_can_have_is_refused(prefix: str) -> None:
    assert problems(StoreSettings, FLUORO_STORE_BUCKET_PREFIX=prefix) == [
        "FLUORO_STORE_BUCKET_PREFIX: should be 1 to 53 of a-z, 0-9, - and ., the first no - or ."
    ]


@pytest.mark.parametrize("kind", [StoreSettings, BrokerSettings, CatalogSettings])
def test_a_file_of_authorities_is_read_at_the_start(kind: type[StoreSettings], tmp_path: Path) -> None:
    name, good, bad = f"FLUORO_{kind.section}_TLS_CA", tmp_path / "ca.pem", tmp_path / "ca.der"
    good.write_text(PEM)
    bad.write_bytes(b"\x30\x82")

    assert not problems(kind, **{name: str(good)})
    for path in (bad, tmp_path, tmp_path / "absent.pem"):
        (line,) = problems(kind, **{name: str(path)})
        assert line.startswith(f"{name}: {NO_PEM}")


def test_a_broker_that_asks_for_a_password_needs_user_and_password() -> None:
    sasl = {"FLUORO_BROKER_SECURITY_PROTOCOL": "SASL_SSL", "FLUORO_BROKER_USER": "gateway"}

    (line,) = problems(BrokerSettings, **sasl)
    assert line.startswith("FLUORO_BROKER_USER, FLUORO_BROKER_PASSWORD: should be set")
    assert not problems(BrokerSettings, **sasl, FLUORO_BROKER_PASSWORD="secret")


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("FLUORO_BROKER_SECURITY_PROTOCOL", "TLS", "PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
        ("FLUORO_BROKER_SASL_MECHANISM", "GSSAPI", "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"),
        ("FLUORO_CATALOG_SSLMODE", "full", "disable, allow, prefer, require, verify-ca, verify-full"),
    ],
)
def test_a_word_that_the_protocol_does_not_have_is_refused_with_those_that_it_has(
    name: str, value: str, wanted: str
) -> None:
    kind = BrokerSettings if "BROKER" in name else CatalogSettings

    assert problems(kind, **{name: value}) == [f"{name}: should be one of {wanted}"]


def test_more_brokers_than_keep_a_record_cannot_be_waited_for() -> None:
    replicas = {"FLUORO_BROKER_TOPIC_REPLICAS": "3"}

    assert not problems(BrokerSettings, **replicas, FLUORO_BROKER_TOPIC_MIN_INSYNC_REPLICAS="2")
    assert problems(BrokerSettings, **replicas, FLUORO_BROKER_TOPIC_MIN_INSYNC_REPLICAS="4") == [
        "FLUORO_BROKER_TOPIC_MIN_INSYNC_REPLICAS: should be at most FLUORO_BROKER_TOPIC_REPLICAS"
    ]


def test_a_certificate_is_not_checked_without_authorities_and_authorities_are_not_ignored(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(PEM)
    authorities = {"FLUORO_CATALOG_TLS_CA": str(tmp_path / "ca.pem")}

    assert problems(CatalogSettings, FLUORO_CATALOG_SSLMODE="verify-full")[0].startswith("FLUORO_CATALOG_TLS_CA: ")
    assert problems(CatalogSettings, FLUORO_CATALOG_SSLMODE="require", **authorities) == [
        "FLUORO_CATALOG_SSLMODE: require checks no certificate, and so ignores FLUORO_CATALOG_TLS_CA"
    ]
    assert not problems(CatalogSettings, FLUORO_CATALOG_TLS_CA="system")
