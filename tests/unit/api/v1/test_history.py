"""GET /v1/studies/{uid}/history answers with what has happened to a study, page by page, deleted or not."""

import asyncio
from typing import Any

import httpx
import pytest

from operators.catalog.history.entries import history_of
from tests.support.worlds.catalog_histories import LIFE, STUDY, command, instance, numbered, rows_of, run
from tests.support.worlds.reading import World

PATH = f"/v1/studies/{STUDY}/history"


@pytest.fixture(scope="module")
def world() -> World:
    made = World()
    run(made.catalog, [numbered([event]) for event in LIFE])
    return made


def get(world: World, path: str = PATH, **headers: str) -> httpx.Response:
    return asyncio.run(world.get(path, **headers))


def body(world: World, path: str = PATH) -> dict[str, Any]:
    response = get(world, path)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_the_whole_life_of_a_study_is_told_in_json(world: World) -> None:
    response = get(world)

    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.headers["cache-control"] == "no-store"
    entries = [entry.as_json for entry in history_of(rows_of(world.catalog.tables)).entries]
    assert response.json() == {
        "study": STUDY,
        "deleted": False,
        "held": True,
        "total": 12,
        "offset": 0,
        "entries": entries,
    }


def test_a_page_says_where_it_begins_and_how_many_entries_there_are(world: World) -> None:
    whole, page = body(world), body(world, f"{PATH}?limit=5&offset=4")

    assert page["entries"] == whole["entries"][4:9]
    assert (page["offset"], page["total"]) == (4, 12)
    assert body(world, f"{PATH}?limit=0")["entries"] == []
    assert body(world, f"{PATH}?offset=12")["total"] == 12


def test_no_page_is_longer_than_the_settings_allow() -> None:
    world = World()
    object.__setattr__(world.settings, "most_limit", 3)
    run(world.catalog, [numbered(LIFE)])

    assert len(body(world, f"{PATH}?limit=99")["entries"]) == 3


@pytest.mark.parametrize("query", ["limit=x", "limit=-1", "offset=1.5", "limit=1&limit=2", "Limit=1", "PatientID=1"])
def test_what_is_no_page_is_400_with_what_to_ask(world: World, query: str) -> None:
    response = get(world, f"{PATH}?{query}")

    assert (response.status_code, response.json()["reason"]) == (400, "bad-query")
    assert "limit" in response.json()["detail"] or "offset" in response.json()["detail"]


def test_a_study_of_which_nothing_is_known_is_404_and_says_so(world: World) -> None:
    response = get(world, "/v1/studies/1.2.99/history")

    assert (response.status_code, response.json()["reason"]) == (404, "no-such-study")
    assert response.headers["content-type"] == "application/problem+json"
    assert "no command names it" in response.json()["detail"]


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/v1/studies/x/history", 400, "bad-uid"),
        ("/v1/studies/1.2/other", 404, "bad-request"),
        (f"{PATH}/", 404, "bad-request"),
    ],
)
def test_another_path_is_refused(world: World, path: str, status: int, reason: str) -> None:
    response = get(world, path)

    assert (response.status_code, response.json()["reason"]) == (status, reason)


def test_a_deleted_study_has_its_history_though_no_query_finds_it() -> None:
    world = World()
    run(world.catalog, [numbered([instance(), command("delete", second=5)])])

    assert get(world, f"/dicomweb/studies/{STUDY}").status_code == 404
    assert (body(world)["deleted"], [entry["action"] for entry in body(world)["entries"]]) == (True, ["delete"])


def test_the_history_of_another_tenant_is_not_told() -> None:
    world = World()
    run(world.catalog, [numbered(LIFE, "north")])

    assert get(world).status_code == 404


def test_only_the_principal_who_may_read_is_answered_and_only_in_json(world: World) -> None:
    assert get(world, Origin="https://evil.example").status_code == 403
    assert get(world, Accept="text/html").status_code == 406
    assert asyncio.run(world.ask("POST", PATH)).status_code == 405


def test_neither_reason_nor_study_is_in_the_log(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    get(world)
    printed = capsys.readouterr()

    assert "a test" not in printed.out + printed.err
