"""The address of the DICOMweb service, as it stands in answers: it must lead the client back to this origin."""

from collections.abc import Mapping
from typing import Any

ROOT = "/dicomweb"
DEFAULT_PORTS = {"http": "80", "https": "443"}


def service_address(scope: Mapping[str, Any], public_url: str = "") -> str:
    """Return the service's address for the client of an ASGI request, without a slash at its end.

    It is below `public_url`, if there is one. Otherwise it has the host that the client used. A Host without a port
    means the scheme's own port (RFC 9110 7.2), where nobody may listen: clients that leave out the port are given the
    one of their connection. The request has exactly one Host, which principal_of() makes sure of.
    """
    if public_url:
        return public_url.rstrip("/") + ROOT
    host = next(value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"host")
    return f"{scope['scheme']}://{host}{_missing_port(scope, host)}{ROOT}"


def _missing_port(scope: Mapping[str, Any], host: str) -> str:
    """Return the connection's port with its colon; empty when Host has a port, or needs none."""
    # ASGI says a number, granian a text; a socket file has none.
    port = str((scope.get("server") or ("", None))[1] or "")
    has_port = ":" in host.rpartition("]")[2]
    return "" if has_port or port in ("", DEFAULT_PORTS.get(scope["scheme"])) else f":{port}"
