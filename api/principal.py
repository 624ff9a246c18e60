"""Who asks, and what they may: one place that every request passes.

Until access control is built, loopback is the only principal there is, and a web page opened on this machine must
not be able to speak in its name: hence the rules on Host, Origin and proxies.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.types import Scope

from api.problems import Problem

HOSTS = ("localhost", "127.0.0.1", "[::1]")
# HTTP/1.0 need send no Host; granian calls it "1".
HTTP_VERSIONS = ("1.1", "2", "2.0", "3")


@dataclass(frozen=True)
class Principal:
    """Whose data is asked for, by whom, and how that is known."""

    tenant: str
    who: str
    how: str


def principal_of(scope: Scope, tenant: str) -> Principal:
    """Give the principal of a request; raises Problem (403) with the rule that it breaks."""
    headers = _headers(scope)
    for reason, advice, is_broken in RULES:
        if is_broken(scope, headers):
            raise Problem(403, reason, advice)
    return Principal(tenant, "loopback", "peer address")


def authorize(principal: Principal, action: str, resource: str) -> None:
    """Let a principal do something, or raise Problem (403); until there are roles, reading is all there is."""
    if action != "read" or not resource:
        raise Problem(403, "not-allowed", f"{principal.who} may read only")


def _headers(scope: Scope) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


Headers = Mapping[str, list[str]]


def _is_old(scope: Scope, _: Headers) -> bool:
    return scope.get("http_version") not in HTTP_VERSIONS


def _is_remote(scope: Scope, _: Headers) -> bool:
    try:
        return not ipaddress.ip_address(scope["client"][0]).is_loopback
    except (KeyError, TypeError, ValueError):
        return True


def _is_forwarded(_: Scope, headers: Headers) -> bool:
    return any(name == "forwarded" or name.startswith("x-forwarded-") for name in headers)


def _is_renamed(_: Scope, headers: Headers) -> bool:
    hosts = headers.get("host", [])
    return len(hosts) != 1 or _split(hosts[0])[0] not in HOSTS


def _is_foreign(_: Scope, headers: Headers) -> bool:
    origins = headers.get("origin", [])
    return any(_place(origin) != _split(headers["host"][0]) for origin in origins)


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
    ("host", "Host must be localhost, 127.0.0.1 or [::1]", _is_renamed),
    ("origin", "pages of another origin may not ask", _is_foreign),
)
