"""Who asks over HTTP, and what they may: one rule for every door.

Until access control is built, loopback is the only principal there is, and a web page opened on this machine must
not be able to speak in its name: hence the rules on Host, Origin and proxies.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

HOSTS = ("localhost", "127.0.0.1", "[::1]")
# HTTP/1.0 need send no Host; granian calls it "1".
HTTP_VERSIONS = ("1.1", "2", "2.0", "3")
ACTIONS = frozenset({"read", "store"})


class NotAllowed(Exception):
    """A request that is not answered: the rule that it breaks, and what would mend it."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


@dataclass(frozen=True)
class Principal:
    """Whose data is asked for, by whom, and how that is known."""

    tenant: str
    who: str
    how: str


@dataclass(frozen=True)
class Asked:
    """What of a request tells who asks: header names in lower case, each with all its values."""

    http_version: str
    peer: str
    headers: Mapping[str, list[str]]

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> "Asked":
        """Read an ASGI scope; a peer that it does not name is ''."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        peer = (scope.get("client") or ("",))[0]
        return cls(str(scope.get("http_version")), str(peer), headers)


def principal_of(asked: Asked, tenant: str) -> Principal:
    """Return the principal of a request; raises NotAllowed with the rule that it breaks."""
    for reason, advice, is_broken in RULES:
        if is_broken(asked):
            raise NotAllowed(reason, advice)
    return Principal(tenant, "loopback", "peer address")


def authorize(principal: Principal, action: str, resource: str) -> None:
    """Let a principal do something, or raise NotAllowed; until there are roles, everyone here may read and store."""
    if action not in ACTIONS or not resource:
        raise NotAllowed("not-allowed", f"{principal.who} may read and store only")


def _is_old(asked: Asked) -> bool:
    return asked.http_version not in HTTP_VERSIONS


def _is_remote(asked: Asked) -> bool:
    try:
        return not ipaddress.ip_address(asked.peer).is_loopback
    except ValueError:
        return True


def _is_forwarded(asked: Asked) -> bool:
    return any(name == "forwarded" or name.startswith("x-forwarded-") for name in asked.headers)


def _is_renamed(asked: Asked) -> bool:
    hosts = asked.headers.get("host", [])
    name, port = _split(hosts[0]) if len(hosts) == 1 else ("", "")
    return name not in HOSTS or not port.isdecimal()


def _is_foreign(asked: Asked) -> bool:
    origins = asked.headers.get("origin", [])
    return any(_place(origin) != _split(asked.headers["host"][0]) for origin in origins)


def _split(host: str) -> tuple[str, str]:
    """Divide a Host header into name and port; port 80 when it says none."""
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return host.lower(), "80"
    return name.lower(), port


def _place(origin: str) -> tuple[str, str]:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return "", ""
    name, port = _split(parts.netloc)
    return name, "443" if parts.scheme == "https" and not parts.netloc.endswith(f":{port}") else port


# In this order: each rule may rely on those before it.
RULES: tuple[tuple[str, str, Any], ...] = (
    ("http-1.0", "HTTP/1.0 is refused: use HTTP/1.1", _is_old),
    ("not-loopback", "only this machine may ask: there is no access control yet", _is_remote),
    ("forwarded", "requests through a proxy are refused: there is no access control yet", _is_forwarded),
    ("host", "Host must be localhost, 127.0.0.1 or [::1], with or without a port", _is_renamed),
    ("origin", "pages of another origin may not ask", _is_foreign),
)
