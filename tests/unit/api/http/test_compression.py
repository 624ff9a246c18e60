"""JSON answers are compressed for clients that accept it, each form with a tag of its own (RFC 9110 8.8.3, 12.5.3)."""

import asyncio
import gzip
from typing import Any

import httpx
import pytest

from tests.support.worlds.pictures import INSTANCE
from tests.support.worlds.reading import World, part10, scope_of, still_there

STUDY = "/dicomweb/studies/1.2.3"
ONE, SEVERAL, LIST = f"{INSTANCE}/metadata", f"{STUDY}/metadata", "/dicomweb/studies?includefield=all"
LONG: dict[str, Any] = {"ImageComments": "comment " * 200}


async def filled() -> World:
    world = World()
    await world.add(part10(**LONG), part10(**LONG, SOPInstanceUID="1.2.3.1.2"))
    for number in range(5):
        await world.add(part10(StudyInstanceUID=f"1.2.4.{number}", SOPInstanceUID=f"1.2.4.{number}.1"))
    return world


class Plain:
    """An answer as it was sent, not decoded."""

    def __init__(self, messages: list[Any]) -> None:
        self.status = messages[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        self.body = b"".join(message.get("body", b"") for message in messages[1:])


def ask(path: str, coding: str | None, *, method: str = "GET", **headers: str) -> Plain:
    """Send a request with this Accept-Encoding, or without one."""
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def asked() -> None:
        path_alone, _, query = path.partition("?")
        scope = scope_of(path_alone) | {"method": method, "query_string": query.encode()}
        named = {**headers, **({} if coding is None else {"accept-encoding": coding})}
        scope["headers"] += [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()]
        await (await filled()).app(scope, still_there, send)

    asyncio.run(asked())
    return Plain(messages)


@pytest.mark.parametrize("path", [ONE, SEVERAL, LIST])
def test_a_client_that_accepts_gzip_gets_the_same_json_in_fewer_bytes(path: str) -> None:
    plain, zipped = ask(path, None), ask(path, "gzip, deflate, br")

    assert "content-encoding" not in plain.headers
    assert zipped.headers["content-encoding"] == "gzip"
    assert gzip.decompress(zipped.body) == plain.body
    assert len(zipped.body) < len(plain.body) / 3
    assert plain.headers["vary"] == zipped.headers["vary"] == "Accept-Encoding"
    assert zipped.headers.get("content-length", str(len(zipped.body))) == str(len(zipped.body))


@pytest.mark.parametrize("path", [ONE, SEVERAL])
@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_each_form_has_its_own_tag_which_is_304_for_that_form_alone(path: str, coding: str) -> None:
    other = {"gzip": "identity", "identity": "gzip"}[coding]
    first = ask(path, coding)
    same = ask(path, coding, if_none_match=first.headers["etag"])
    changed = ask(path, other, if_none_match=first.headers["etag"])

    assert (first.status, same.status, changed.status) == (200, 304, 200)
    assert (same.headers["etag"], same.headers["vary"], same.body) == (first.headers["etag"], "Accept-Encoding", b"")
    assert changed.headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize("path", [ONE, SEVERAL, LIST])
def test_head_has_the_headers_of_get(path: str) -> None:
    get, head = ask(path, "gzip"), ask(path, "gzip", method="HEAD")

    assert head.headers == get.headers
    assert head.body == b""


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", None),
        ("identity", None),
        ("br", None),
        ("gzip;q=0", None),
        ("gzip;q=0.5, identity", None),
        ("gzip;q=0.5, identity;q=0.6", None),
        ("*;q=0, identity", None),
        ("gzip", "gzip"),
        ("X-GZIP", "gzip"),
        ("*", "gzip"),
        ("gzip;q=0.5", "gzip"),
        ("gzip;q=0.5, identity;q=0.5", "gzip"),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", "gzip"),
        ("gzip, identity;q=0", "gzip"),
        ("identity;q=0, *", "gzip"),
    ],
)
def test_weights_choose_the_coding(accepted: str, coding: str | None) -> None:
    answer = ask(LIST, accepted)

    assert (answer.status, answer.headers.get("content-encoding")) == (200, coding)


@pytest.mark.parametrize("accepted", ["identity;q=0", "*;q=0", "br, identity;q=0", "gzip;q=0, *;q=0"])
@pytest.mark.parametrize("path", [LIST, ONE])
def test_a_client_that_takes_neither_form_is_406(path: str, accepted: str) -> None:
    answer = ask(path, accepted)

    assert (answer.status, "content-encoding" in answer.headers) == (406, False)


def test_a_short_answer_is_sent_as_it_is_and_varies_all_the_same() -> None:
    answer = ask("/dicomweb/studies?PatientID=nobody", "gzip")

    assert (answer.body, answer.headers["vary"], "content-encoding" in answer.headers) == (
        b"[]",
        "Accept-Encoding",
        False,
    )


@pytest.mark.parametrize("path", [INSTANCE, f"{INSTANCE}/frames/1", f"{INSTANCE}/bulkdata/7FE00010"])
def test_bytes_of_objects_are_never_compressed(path: str) -> None:
    assert "content-encoding" not in ask(path, "gzip").headers


def test_an_http_client_reads_both_forms_alike() -> None:
    async def asked() -> list[httpx.Response]:
        world = await filled()
        return [await world.get(SEVERAL, accept_encoding=coding) for coding in ("gzip", "identity")]

    zipped, plain = asyncio.run(asked())

    assert zipped.json() == plain.json()
