"""The peers that may associate: those of a TOML file, which is read again when it changes; else only this machine.

A caller is the first peer of the file that it matches. deploy/peers.example.toml explains how to write the file.
"""

import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from gateway.dimse.services.table import SERVICE_NAMES
from schemas.objects import TENANT
from schemas.settings.dimse import DimseSettings
from schemas.settings.reading import SettingsError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ANY = "*"
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
MOST_FILE_BYTES = 4 * 2**20
MOST_NUMBER = 1e9

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
# The default repertoire without backslash (PS3.5 6.2, AE), and no space at either end (PS3.8 9.3.2).
TITLE = re.compile(r"(?! )[ -\[\]-~]{1,16}(?<! )")
FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")
COMMON_NAME = re.compile(r"CN=.{1,64}")


@dataclass(frozen=True)
class Certificate:
    """A client's certificate: SHA-256 of its DER bytes in hex, and the subject's common name."""

    fingerprint: str
    common_name: str

    def matches(self, wanted: str) -> bool:
        """True if this is the certificate that a peer's `certificate` names."""
        return wanted in (f"sha256:{self.fingerprint}", f"CN={self.common_name}")


@dataclass(frozen=True)
class Caller:
    """The requestor of an association. The titles are without padding, and may be any text."""

    address: Address
    calling_ae: str
    called_ae: str
    certificate: Certificate | None = None


@dataclass(frozen=True)
class Peer:
    """A rule for callers: the callers that match it, the tenant of their data, their services, and their limits."""

    name: str
    calling_ae: str
    networks: tuple[Network, ...]
    tenant: str
    services: frozenset[str]
    called_ae: str = ANY
    associations: int = 50
    idle_s: float = 120.0
    certificate: str = ""

    def has_address(self, address: Address) -> bool:
        """True if an address is in one of the peer's networks."""
        return any(address in network for network in self.networks)

    def covers(self, other: "Peer") -> bool:
        """True if every caller that matches the other peer matches this one."""
        return (
            self.calling_ae in (ANY, other.calling_ae)
            and self.called_ae in (ANY, other.called_ae)
            and self.certificate in ("", other.certificate)
            and all(any(_is_within(inner, outer) for outer in self.networks) for inner in other.networks)
        )


def _is_within(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


# Checked in this order: the reason for a rejection, and the condition that a caller must meet.
CHECKS: tuple[tuple[str, Callable[[Peer, Caller], bool]], ...] = (
    ("calling-ae", lambda peer, caller: peer.calling_ae in (ANY, caller.calling_ae)),
    ("called-ae", lambda peer, caller: peer.called_ae in (ANY, caller.called_ae)),
    (
        "certificate",
        lambda peer, caller: (
            not peer.certificate or (caller.certificate is not None and caller.certificate.matches(peer.certificate))
        ),
    ),
)


@dataclass(frozen=True)
class Peers:
    """All peers, in the file's order."""

    peers: tuple[Peer, ...]

    def has_address(self, address: Address) -> bool:
        """True if any peer may call from an address."""
        return any(peer.has_address(address) for peer in self.peers)

    def find(self, caller: Caller) -> Peer | str:
        """Return the first peer that a caller matches, or the reason to reject it: a name in negotiation.REJECTIONS."""
        found = [peer for peer in self.peers if peer.has_address(caller.address)]
        if not found:
            return "address"
        for reason, matches in CHECKS:
            found = [peer for peer in found if matches(peer, caller)]
            if not found:
                return reason
        return found[0]


def address_of(text: str) -> Address:
    """Return a socket's address; an IPv4 address mapped into IPv6 becomes the IPv4 address."""
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


class PeersFile:
    """The peers file that the settings name, and its last known version."""

    def __init__(self, settings: DimseSettings) -> None:
        self._settings = settings
        self._path = Path(settings.peers_file)
        self._version = self._read_version()

    def load(self) -> Peers:
        """Return the peers of the file; raises SettingsError with a line for each problem."""
        if not self._settings.peers_file:
            return loopback_only(self._settings)
        try:
            with self._path.open("rb") as file:
                text = file.read(MOST_FILE_BYTES + 1).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{self._path}: cannot be read: {getattr(error, 'strerror', 'no UTF-8')}") from error
        try:
            return parse(text, self._settings)
        except SettingsError as error:
            raise SettingsError("\n".join(f"{self._path}: {line}" for line in str(error).splitlines())) from error

    def has_changed(self) -> bool:
        """True if the file was changed since the last call."""
        before, self._version = self._version, self._read_version()
        return self._version != before

    def _read_version(self) -> tuple[int, int, int] | None:
        if not self._settings.peers_file:
            return None
        try:
            found = os.stat(self._path)  # noqa: PTH116 - a Path adds nothing
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


def loopback_only(settings: DimseSettings) -> Peers:
    """Return the peers without a file: a single peer, for every caller from this machine and every service."""
    return Peers(
        (
            Peer(
                name="loopback",
                calling_ae=ANY,
                called_ae=settings.only_called_ae or ANY,
                networks=LOOPBACK,
                tenant=settings.tenant,
                services=SERVICE_NAMES,
                associations=settings.associations,
                idle_s=settings.idle_s,
            ),
        )
    )


def parse(text: str, settings: DimseSettings) -> Peers:
    """Return the peers of a file's text; raises SettingsError with a line for each problem."""
    if len(text) > MOST_FILE_BYTES:
        raise SettingsError(f"longer than {MOST_FILE_BYTES} bytes")
    try:
        whole = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(str(error)) from error
    except (ValueError, RecursionError) as error:
        # tomllib lets these errors through, such as int()'s for a number of 5,000 digits.
        raise SettingsError("nested too deeply, or a number of too many digits") from error
    tables = whole.get("peer", [])
    problems = [f"{key}: is unknown; only [[peer]] is allowed" for key in whole if key != "peer"]
    if not tables or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SettingsError("\n".join([*problems, "has no [[peer]]"]))
    peers = []
    for number, table in enumerate(tables, 1):
        found = list(_problems(table, settings))
        problems += [f"{_label(table, number)}: {problem}" for problem in found]
        peers += [] if found else [_peer(table, settings)]
    problems += _clashes(peers)
    if problems:
        raise SettingsError("\n".join(problems))
    return Peers(tuple(peers))


def _label(table: Mapping[str, Any], number: int) -> str:
    name = table.get("name")
    return f"peer {name}" if isinstance(name, str) and NAME.fullmatch(name) else f"peer number {number}"


def _problems(table: Mapping[str, Any], settings: DimseSettings) -> Iterator[str]:
    for key in sorted(table.keys() - READERS.keys()):
        yield f"{key}: is unknown"
    for key in READERS:
        if key not in table and key in REQUIRED:
            yield f"{key}: is missing"
        elif key in table and (problem := _problem(key, table[key])):
            yield f"{key}: {problem}"
    if table.get("certificate") and not settings.tls_client_ca:
        yield "certificate: needs FLUORO_DIMSE_TLS_CLIENT_CA, without which clients are not asked for one"


def _problem(key: str, value: Any) -> str | None:
    try:
        READERS[key](value)
    except ValueError as error:
        return str(error)
    return None


def _peer(table: Mapping[str, Any], settings: DimseSettings) -> Peer:
    defaults: dict[str, Any] = {"called_ae": settings.only_called_ae or settings.ae_title, "idle_s": settings.idle_s}
    return Peer(**(defaults | {key: READERS[key](value) for key, value in table.items()}))


def _clashes(peers: list[Peer]) -> Iterator[str]:
    for index, peer in enumerate(peers):
        before = peers[:index]
        if any(other.name == peer.name for other in before):
            yield f"peer {peer.name}: name: is used by another peer"
        if covering := next((other for other in before if other.covers(peer)), None):
            yield f"peer {peer.name}: can never match: peer {covering.name} comes first and matches all its callers"


def _matching(pattern: re.Pattern[str], wanted: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or pattern.fullmatch(value) is None:
            raise ValueError(f"should be {wanted}")
        return value

    return read


def _number(kinds: tuple[type, ...], least: float, wanted: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        is_number = isinstance(value, kinds) and not isinstance(value, bool)
        if not is_number or not least <= value < MOST_NUMBER:
            raise ValueError(f"should be {wanted}")
        return value

    return read


def _list(value: Any, wanted: str) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(member, str) for member in value):
        raise ValueError(f"should be a list of {wanted}")
    return value


def _networks(value: Any) -> tuple[Network, ...]:
    return tuple(map(ipaddress.ip_network, _list(value, 'networks, such as "10.1.0.0/16"')))


def _services(value: Any) -> frozenset[str]:
    services = frozenset(_list(value, f"services: {', '.join(sorted(SERVICE_NAMES))}"))
    if not services <= SERVICE_NAMES:
        raise ValueError(f"should be any of {', '.join(sorted(SERVICE_NAMES))}")
    return services


def _certificate(value: Any) -> str:
    wanted = value.replace(":", "").lower() if isinstance(value, str) else ""
    if wanted.startswith("sha256"):
        # A fingerprint may have colons, as openssl prints it.
        value = f"sha256:{wanted.removeprefix('sha256')}"
    if not isinstance(value, str) or not (FINGERPRINT.fullmatch(value) or COMMON_NAME.fullmatch(value)):
        raise ValueError('should be "CN=" and the common name, or "sha256:" and the fingerprint')
    return value


_read_title = _matching(TITLE, f'an AE title, or "{ANY}" for any')

READERS: dict[str, Callable[[Any], Any]] = {
    "name": _matching(NAME, "1 to 64 letters, digits and . _ -"),
    "calling_ae": _read_title,
    "called_ae": _read_title,
    "networks": _networks,
    "tenant": _matching(TENANT, "1 to 32 small letters, digits and -"),
    "services": _services,
    "associations": _number((int,), 1, "a whole number, 1 or more"),
    "idle_s": _number((int, float), 0.1, "a number of seconds, 0.1 or more"),
    "certificate": _certificate,
}
REQUIRED = frozenset(key.name for key in fields(Peer) if key.default is MISSING)
