"""Every rejection has a reason, every mistake in the peers file is named, and only this machine needs no peers file."""

from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dimse.peers import Caller, Certificate, Peer, Peers, PeersFile, address_of, loopback_only, parse
from operators.dimse.negotiation import REJECTIONS
from schemas.settings.dimse import DimseSettings
from schemas.settings.reading import SettingsError

SETTINGS = DimseSettings(tls_client_ca="ca.pem")
ROOT = Path(__file__).parents[4]
CT1 = """
[[peer]]
name = "ct1"
calling_ae = "CT1"
networks = ["10.1.0.0/16", "fd00::/8"]
tenant = "local"
services = ["echo", "store"]
"""
MR = """
[[peer]]
name = "mr"
calling_ae = "MR 2"
called_ae = "*"
networks = ["10.2.0.0/16"]
tenant = "clinic"
services = ["echo"]
associations = 3
idle_s = 7
"""
SAFE = """
[[peer]]
name = "safe"
calling_ae = "SAFE"
networks = ["10.3.0.0/16"]
tenant = "local"
services = ["store"]
certificate = "CN=safe.example.org"
"""
PINNED = SAFE.replace("safe", "pinned").replace("CN=pinned.example.org", f"SHA256:{':'.join(['AB'] * 32)}")
PEERS = parse(CT1 + MR + SAFE + PINNED.replace("SAFE", "PINNED"), SETTINGS)

NOBODY = None
GOOD = Certificate("ab" * 32, "safe.example.org")
OTHER = Certificate("cd" * 32, "other.example.org")

# Calling AE, called AE, address, certificate: the peer's name, or the reason of the rejection.
MATRIX = [
    ("CT1", "FLUORO", "10.1.2.3", NOBODY, "ct1"),
    ("CT1", "FLUORO", "fd00::1", NOBODY, "ct1"),
    ("CT1", "FLUORO", "::ffff:10.1.2.3", NOBODY, "ct1"),
    ("ct1", "FLUORO", "10.1.2.3", NOBODY, "calling-ae"),
    ("CT12", "FLUORO", "10.1.2.3", NOBODY, "calling-ae"),
    ("*", "FLUORO", "10.1.2.3", NOBODY, "calling-ae"),
    ("CT1", "OTHER", "10.1.2.3", NOBODY, "called-ae"),
    ("CT1", "fluoro", "10.1.2.3", NOBODY, "called-ae"),
    ("NOBODY", "OTHER", "10.1.2.3", NOBODY, "calling-ae"),
    ("CT1", "FLUORO", "10.2.2.3", NOBODY, "calling-ae"),
    ("CT1", "FLUORO", "10.9.2.3", NOBODY, "address"),
    ("CT1", "FLUORO", "127.0.0.1", NOBODY, "address"),
    ("CT1", "FLUORO", "::1", NOBODY, "address"),
    ("MR 2", "ANYTHING", "10.2.0.1", NOBODY, "mr"),
    ("MR 2", "FLUORO", "10.1.0.1", NOBODY, "calling-ae"),
    ("SAFE", "FLUORO", "10.3.0.1", GOOD, "safe"),
    ("SAFE", "FLUORO", "10.3.0.1", OTHER, "certificate"),
    ("SAFE", "FLUORO", "10.3.0.1", NOBODY, "certificate"),
    ("SAFE", "OTHER", "10.3.0.1", NOBODY, "called-ae"),
    ("PINNED", "FLUORO", "10.3.0.1", GOOD, "pinned"),
    ("PINNED", "FLUORO", "10.3.0.1", OTHER, "certificate"),
]


def found(peers: Peers, caller: Caller) -> str:
    peer = peers.find(caller)
    return peer if isinstance(peer, str) else peer.name


@pytest.mark.parametrize(("calling", "called", "address", "certificate", "expected"), MATRIX)
def test_a_caller_is_recognised_as_its_peer_or_refused_with_a_reason(
    calling: str, called: str, address: str, certificate: Certificate | None, expected: str
) -> None:
    assert found(PEERS, Caller(address_of(address), calling, called, certificate)) == expected


def test_every_reason_has_a_rejection() -> None:
    reasons = {reason for *_, reason in MATRIX} - {peer.name for peer in PEERS.peers}

    assert {reason: REJECTIONS[reason] for reason in reasons} == {
        "address": (1, 1, 3),
        "calling-ae": (1, 1, 3),
        "called-ae": (1, 1, 7),
        "certificate": (1, 1, 3),
    }


def test_a_caller_is_the_first_peer_that_it_matches() -> None:
    anybody = CT1.replace('"ct1"', '"rest"').replace('"CT1"', '"*"')
    peers = parse(CT1 + anybody, SETTINGS)

    here = ip_address("10.1.0.1")
    assert found(peers, Caller(here, "CT1", "FLUORO")) == "ct1"
    assert found(peers, Caller(here, "CT2", "FLUORO")) == "rest"


def test_a_peer_takes_missing_values_from_the_settings() -> None:
    ct1, mr, *_ = PEERS.peers

    assert (mr.tenant, mr.services, mr.associations, mr.idle_s) == ("clinic", frozenset({"echo"}), 3, 7)
    assert (ct1.called_ae, ct1.associations, ct1.idle_s, ct1.certificate) == ("FLUORO", 50, SETTINGS.idle_s, "")
    assert parse(CT1, replace(SETTINGS, only_called_ae="ARCHIVE")).peers[0].called_ae == "ARCHIVE"


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
@settings(deadline=None)
@given(calling=st.text(max_size=16), called=st.text(max_size=16))
def test_without_a_file_this_machine_may_use_every_service(address: str, calling: str, called: str) -> None:
    peer = loopback_only(DimseSettings(tenant="mine")).find(Caller(address_of(address), calling, called))

    assert isinstance(peer, Peer)
    assert (peer.tenant, peer.services) == ("mine", frozenset({"echo", "store"}))


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.1.1", "8.8.8.8", "fe80::1", "fe80::1%eth0"])
def test_without_a_file_nobody_else_may_associate(address: str) -> None:
    peers = loopback_only(DimseSettings())

    assert found(peers, Caller(address_of(address), "CT1", "FLUORO")) == "address"
    assert not peers.has_address(address_of(address))


def test_without_a_file_the_only_called_title_still_holds() -> None:
    peers = loopback_only(DimseSettings(only_called_ae="ONLY"))

    assert found(peers, Caller(address_of("::1"), "CT1", "ONLY")) == "loopback"
    assert found(peers, Caller(address_of("::1"), "CT1", "FLUORO")) == "called-ae"


def changed(line: str) -> str:
    key = line.partition(" =")[0]
    return "\n".join([*(kept for kept in CT1.splitlines() if not kept.startswith(f"{key} =")), line])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no [[peer]]"),
        ("peer = 3", "has no [[peer]]"),
        ("peer = [1]", "has no [[peer]]"),
        ("[[peer]\n", "Expected ']]' at the end of an array declaration (at line 1, column 7)"),
        (changed("tenant = 1"), "peer ct1: tenant: should be 1 to 32 small letters, digits and -"),
        (changed('tenant = "../x"'), "peer ct1: tenant: should be 1 to 32 small letters, digits and -"),
        (changed('name = "a\\nb"'), "peer number 1: name: should be 1 to 64 letters, digits and . _ -"),
        (changed('calling_ae = " CT"'), 'peer ct1: calling_ae: should be an AE title, or "*" for any'),
        (changed('calling_ae = "12345678901234567"'), 'peer ct1: calling_ae: should be an AE title, or "*" for any'),
        (changed('networks = "10.0.0.0/8"'), 'peer ct1: networks: should be a list of networks, such as "10.1.0.0/16"'),
        (changed("networks = []"), 'peer ct1: networks: should be a list of networks, such as "10.1.0.0/16"'),
        (changed('networks = ["10.0.0.1/8"]'), "peer ct1: networks: 10.0.0.1/8 has host bits set"),
        (changed('services = ["move"]'), "peer ct1: services: should be any of echo, store"),
        (changed("associations = 0"), "peer ct1: associations: should be a whole number, 1 or more"),
        (changed("associations = true"), "peer ct1: associations: should be a whole number, 1 or more"),
        (changed(f"associations = {'9' * 5000}"), "nested too deeply, or a number of too many digits"),
        (changed(f"associations = {'[' * 5000}"), "nested too deeply, or a number of too many digits"),
        (changed("idle_s = nan"), "peer ct1: idle_s: should be a number of seconds, 0.1 or more"),
        (changed("quota = 1"), "peer ct1: quota: is unknown"),
        (
            changed('certificate = "sha256:12"'),
            'peer ct1: certificate: should be "CN=" and the common name, or "sha256:" and the fingerprint',
        ),
        (CT1 + CT1.replace("CT1", "CT2"), "peer ct1: name: is used by another peer"),
        (
            CT1 + changed('name = "late"').replace("10.1.0.0/16", "10.1.7.0/24"),
            "peer late: can never match: peer ct1 comes first and matches all its callers",
        ),
    ],
)
def test_a_mistake_is_named_with_its_peer(text: str, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text, SETTINGS)

    assert str(caught.value) == problem


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        parse("version = 1\n[[peer]]\nname = 'a'\n[[peer]]\n" + changed("tenant = 1").replace("[[peer]]", ""), SETTINGS)

    assert str(caught.value).splitlines() == [
        "version: is unknown; only [[peer]] is allowed",
        "peer a: calling_ae: is missing",
        "peer a: networks: is missing",
        "peer a: tenant: is missing",
        "peer a: services: is missing",
        "peer ct1: tenant: should be 1 to 32 small letters, digits and -",
    ]


def test_a_certificate_without_a_client_ca_is_a_mistake() -> None:
    with pytest.raises(SettingsError, match="peer safe: certificate: needs FLUORO_DIMSE_TLS_CLIENT_CA"):
        parse(SAFE, DimseSettings())


@settings(deadline=None)
@given(st.text())
def test_any_text_is_read_or_a_mistake(text: str) -> None:
    with suppress(SettingsError):
        assert parse(text, SETTINGS).peers


def test_the_example_file_is_valid() -> None:
    example = (ROOT / "deploy" / "peers.example.toml").read_text()

    assert [peer.name for peer in parse(example, DimseSettings()).peers] == ["ct1", "this-machine"]
    assert [peer.name for peer in parse(example.replace("\n# certificate", "\ncertificate"), SETTINGS).peers]


def test_a_change_of_the_file_is_seen_once(tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    path.write_text(CT1)
    file = PeersFile(replace(SETTINGS, peers_file=str(path)))
    assert len(file.load().peers) == 1
    assert not file.has_changed()

    (tmp_path / "new").write_text(CT1 + MR)
    (tmp_path / "new").replace(path)

    assert [file.has_changed(), file.has_changed()] == [True, False]
    assert len(file.load().peers) == 2


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "cannot be read: No such file or directory"), (b"\xff", "cannot be read: no UTF-8"), (b"", "has no")],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "peers.toml"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SettingsError, match=problem) as caught:
        PeersFile(replace(SETTINGS, peers_file=str(path))).load()

    assert str(caught.value).startswith(f"{path}: ")
