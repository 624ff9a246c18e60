"""The service's own address: what is below it, in JSON for programs and as a page for people."""

from collections.abc import Awaitable, Callable, Iterable
from html import escape
from typing import NamedTuple

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.dicomweb.resources import base_of
from api.http.problems import not_acceptable
from operators.http.accept import accepted, choose

JSON, HTML = "application/json", "text/html"
# The page runs nothing and loads nothing; only its own style counts.
PAGE_POLICY = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
READ, STORE = ("GET", "HEAD"), ("POST",)


class Resource(NamedTuple):
    """A resource below the service's address: its path with names in braces, its methods, and what it is."""

    path: str
    methods: tuple[str, ...]
    what: str


# Requests that store are answered by the gateway's door, at the same origin.
STORED: tuple[Resource, ...] = (
    Resource("/studies", STORE, "store instances (STOW-RS)"),
    Resource("/studies/{study}", STORE, "store instances of this study (STOW-RS)"),
)


def overview(readable: Iterable[Resource]) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler that says what is there: the resources that can be read, and where instances are stored."""
    resources = (*STORED, *readable)

    async def service(request: Request) -> Response:
        media_type = choose(accepted(request), (JSON, HTML))
        if media_type is None:
            raise not_acceptable(f"{JSON} or {HTML}")
        base = base_of(request)
        if media_type == HTML:
            return Response(_page(base, resources), media_type=HTML, headers=PAGE_POLICY)
        return Response(_json(base, resources), media_type=JSON)

    return service


def _json(base: str, resources: Iterable[Resource]) -> bytes:
    found = [{"address": base + path, "methods": methods, "what": what} for path, methods, what in resources]
    return orjson.dumps({"service": "Fluoro, DICOMweb (PS3.18)", "resources": found}, option=orjson.OPT_INDENT_2)


def _page(base: str, resources: Iterable[Resource]) -> str:
    rows = "\n".join(
        f"<tr><td>{', '.join(methods)}<td>{_address(base, path, methods)}<td>{escape(what)}"
        for path, methods, what in resources
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>Fluoro, DICOMweb</title>\n'
        "<style>body{font-family:sans-serif}td{padding:.2em 1em .2em 0}</style>\n"
        f"<h1>Fluoro, DICOMweb</h1>\n<p>Viewers and scripts take the address <code>{escape(base)}</code>.\n"
        f"<table>\n{rows}\n</table>\n</html>\n"
    )


def _address(base: str, path: str, methods: tuple[str, ...]) -> str:
    """Return a path below the service's address as the page shows it: a link where it can be opened as it stands."""
    can_open = methods == READ and "{" not in path
    return f'<a href="{escape(base + path)}">{escape(path)}</a>' if can_open else escape(path)
