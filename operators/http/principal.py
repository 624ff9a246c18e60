"""The principal of an HTTP request, found by the same rules in the STOW door and in the read API.

There is no access control yet, so the only principal is a client on this machine. The rules on Host, Origin,
Sec-Fetch-Site and proxies keep a web page that is open on this machine from acting as that client.
"""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from operators.access.principal import NotAllowed, Principal
from operators.http.problem import Problem

HOSTS = ("localhost", "127.0.0.1", "[::1]")
# HTTP/1.0 is left out, because its requests may lack a Host; granian names that version "1".
HTTP_VERSIONS = ("1.1", "2", "2.0", "3")
MOST_PORT = 65_535
# Of a port's digits that are read: enough for a number above every port, with leading zeros.
PORT_DIGITS = 16
# Of a Content-Length's digits: enough for a number above every limit.
LENGTH_DIGITS = 20
# A page of this server, and a user who typed the address or opened a bookmark.
OWN_SITES = ("same-origin", "none")


@dataclass(frozen=True)
class RequestHead:
    """A request without its body: HTTP version, peer address, and the values of each header by lower-case name."""

    http_version: str
    peer: str
    headers: Mapping[str, list[str]]

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> "RequestHead":
        """Return the head of an ASGI request; the peer is '' if the scope names none."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        peer = (scope.get("client") or ("",))[0]
        return cls(str(scope.get("http_version")), str(peer), headers)

    def single(self, name: str) -> str:
        """Return the value of a header, '' when it is absent; raises Problem when the header is repeated."""
        values = self.headers.get(name, [])
        if len(values) > 1:
            raise Problem(400, "header-twice", f"send the header {name} once")
        return values[0] if values else ""

    @property
    def length(self) -> int | None:
        """Return the Content-Length, None when there is none; raises Problem when it is repeated."""
        length = self.single("content-length")
        return int(length[:LENGTH_DIGITS]) if length.isdecimal() else None


def principal_of(head: RequestHead, tenant: str) -> Principal:
    """Return the principal of a request; raises NotAllowed with the first rule that the request breaks.

    Raises Problem for a Host with a port that there is not, since addresses in answers have it (RFC 9112 3.2).
    """
    for reason, advice, is_broken in RULES:
        if is_broken(head):
            raise NotAllowed(reason, advice)
    if not 0 < int(_split_host(head.headers["host"][0])[1][:PORT_DIGITS]) <= MOST_PORT:
        raise Problem(400, "host-port", f"the port in Host must be from 1 to {MOST_PORT}")
    return Principal(tenant, "loopback", "peer address")


def _is_old(head: RequestHead) -> bool:
    return head.http_version not in HTTP_VERSIONS


def _is_remote(head: RequestHead) -> bool:
    try:
        return not ipaddress.ip_address(head.peer).is_loopback
    except ValueError:
        return True


def _is_forwarded(head: RequestHead) -> bool:
    return any(name == "forwarded" or name.startswith("x-forwarded-") for name in head.headers)


def _has_foreign_host(head: RequestHead) -> bool:
    hosts = head.headers.get("host", [])
    name, port = _split_host(hosts[0]) if len(hosts) == 1 else ("", "")
    return name not in HOSTS or not port.isdecimal()


def _has_foreign_origin(head: RequestHead) -> bool:
    origins = head.headers.get("origin", [])
    return any(_split_origin(origin) != _split_host(head.headers["host"][0]) for origin in origins)


def _is_for_foreign_page(head: RequestHead) -> bool:
    """True if a browser says that it asks for a page of another origin.

    A browser sends no Origin with the GET of an image, a script or a link, but this header, which no page can set
    (W3C Fetch Metadata). Another port of this machine is of the same site, and another origin all the same.
    """
    return any(site not in OWN_SITES for site in head.headers.get("sec-fetch-site", []))


def _split_host(host: str) -> tuple[str, str]:
    """Return the name and the port of a Host header; port 80 when it has none."""
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return host.lower(), "80"
    return name.lower(), port


def _split_origin(origin: str) -> tuple[str, str]:
    """Return the name and the port of an Origin header; both '' when it is not a URL."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return "", ""
    name, port = _split_host(parts.netloc)
    return name, "443" if parts.scheme == "https" and not parts.netloc.endswith(f":{port}") else port


# Reason, advice, test. The order matters: the rule on Origin relies on the rule on Host having passed.
RULES: tuple[tuple[str, str, Callable[[RequestHead], bool]], ...] = (
    ("http-1.0", "HTTP/1.0 is refused: use HTTP/1.1", _is_old),
    ("not-loopback", "send requests from this machine: there is no access control yet", _is_remote),
    ("forwarded", "send requests without a proxy: there is no access control yet", _is_forwarded),
    ("host", "Host must be localhost, 127.0.0.1 or [::1], with or without a port", _has_foreign_host),
    ("origin", "pages of another origin may not send requests: use a page of this server", _has_foreign_origin),
    ("fetch-site", "pages of another origin may not read or link here: enter the address", _is_for_foreign_page),
)
