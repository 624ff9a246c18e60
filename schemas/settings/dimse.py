"""The DIMSE door: its address and titles, the peers that may associate, and its limits of time and size."""

import ipaddress
import os
import re
from dataclasses import dataclass

from schemas.settings.intake import TENANT
from schemas.settings.reading import PORT, Rule, setting

_AE_TITLE = re.compile(r"[!-\[\]-~]{1,16}")


def is_networks(text: str) -> bool:
    """True if this is a list of networks, such as 10.1.0.0/16, separated by commas; the list may be empty."""
    try:
        return all(ipaddress.ip_network(network) for network in text.split(",")) if text else True
    except ValueError:
        return False


AE_TITLE = Rule(lambda title: _AE_TITLE.fullmatch(title) is not None, "1 to 16 printable characters, no space or \\")
AE_TITLE_OR_NONE = Rule(lambda title: not title or AE_TITLE.holds(title), f"empty, or {AE_TITLE.wanted}")
NETWORKS = Rule(is_networks, "networks separated by commas, such as 10.1.0.0/16,10.2.0.0/16")


@dataclass(frozen=True)
class DimseSettings:
    """The DIMSE door."""

    section = "DIMSE"
    host: str = setting("127.0.0.1")
    port: int = setting(11112, **PORT)
    ae_title: str = setting("FLUORO", rule=AE_TITLE)
    # The only AE title that may be called; empty: any title may.
    only_called_ae: str = setting("", rule=AE_TITLE_OR_NONE)
    # The tenant that instances are stored for when there is no peers file.
    tenant: str = setting("local", rule=TENANT)
    processes: int = setting(os.cpu_count() or 1, least=1, most=256)
    # The first process serves its metrics at this port, the second at the next, and so on; 0: no process does.
    metrics_port: int = setting(0, **PORT)
    # The largest PDU of an association, and the largest association request.
    max_pdu_bytes: int = setting(131072, least=4096, most=1048576)
    associate_pdu_bytes: int = setting(524288, least=4096)
    # How long a connection may take to associate.
    associate_s: float = setting(10.0, least=0.1)
    # How long a PDU may pause once it has begun, and its lowest average rate after that time.
    silence_s: float = setting(10.0, least=0.1)
    slowest_bytes_per_s: float = setting(1000.0, least=0)
    # How long an association may wait between two messages.
    idle_s: float = setting(120.0, least=0.1)
    # How long an association may send nothing before its first message, or between the PDUs of one message.
    stall_s: float = setting(20.0, least=0.1)
    associations: int = setting(200, least=1)
    # Connections from one address that is no peer's; the addresses of load balancers are exempt.
    associations_per_address: int = setting(20, least=1)
    balancers: str = setting("", rule=NETWORKS)
    # When all places are taken, a connection that has sent next to nothing for `yield_s` may lose its place.
    yield_s: float = setting(5.0, least=0.1)
    # The file of the peers that may associate (deploy/peers.example.toml); empty: callers from this machine only.
    peers_file: str = setting("")
    # PEM files; with a client CA every client must show a certificate.
    tls_certificate: str = setting("")
    tls_key: str = setting("")
    tls_client_ca: str = setting("")
    # 1: listen on an address that is not loopback even without TLS.
    plaintext_public: int = setting(0, least=0, most=1)
    # Presentation contexts of one association request, and transfer syntaxes of one context.
    contexts: int = setting(128, least=1, most=128)
    transfer_syntaxes: int = setting(64, least=1, most=1024)
    # Unknown transfer syntaxes before the first known one of a request: no honest peer proposes more.
    unknown_syntaxes: int = setting(2048, least=0)
    user_information_bytes: int = setting(65535, least=64, most=65535)
    command_bytes: int = setting(16 * 2**10, least=2**10)
    # Fragments of one message that may be of any size; with more, all must average at least `fragment_bytes`.
    fragments: int = setting(1000, least=1)
    fragment_bytes: int = setting(1024, least=0, most=4096)
    # Requests of one association that wait for their turn. The gateway negotiates one operation at a time (PS3.7
    # D.3.3.3), so more of them are a flood.
    unanswered_requests: int = setting(64, least=1)
