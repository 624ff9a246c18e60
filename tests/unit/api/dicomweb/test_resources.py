"""A request's path names studies, series, instances and frames, and each has one address."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.requests import Request

from api.dicomweb.resources import (
    MOST_FRAMES,
    address,
    address_of,
    check_frames,
    frame_numbers_of,
    location_of,
    locations_of,
    uid_of,
)
from operators.access.principal import Principal
from operators.http.problem import Problem
from operators.retrieval.reading import ArchiveReader, NotFound
from schemas.events import Frames
from tests.support.worlds.reading import World, part10, scope_of

BASE = "http://localhost:8060/dicomweb"
ONE = part10()
TWO = part10(SOPInstanceUID="1.2.3.1.2", InstanceNumber=2)
OTHER = part10(SeriesInstanceUID="1.2.3.2", SOPInstanceUID="1.2.3.2.1", SeriesNumber=2)


def request(*, reader: Any = None, **path_params: str) -> Request:
    """Return a request whose path has these parameters."""
    return Request(scope_of("/") | {"path_params": path_params, "reader": reader})


def problem(ask: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(Problem) as refused:
        ask()
    assert refused.value.advice
    return refused.value.status, refused.value.reason


# UIDs


@pytest.mark.parametrize("uid", ["1", "1.2.840.10008", "1." * 31 + "12"])
def test_a_uid_is_taken_from_the_path(uid: str) -> None:
    assert uid_of(request(study=uid), "study") == uid


def test_a_level_that_the_path_does_not_name_has_no_uid() -> None:
    assert uid_of(request(study="1.2"), "series") is None


@pytest.mark.parametrize("uid", ["", "1.2.a", "1.2.%2e", "1.2 ", "1.2\n", "../1", "\u0661.2", "1" * 65])
def test_a_malformed_uid_is_400(uid: str) -> None:
    assert problem(lambda: uid_of(request(series=uid), "series")) == (400, "bad-uid")


# Instances


def located(ask: Callable[[Request], Any], **path_params: str) -> Any:
    """Return the locations that a path names in an archive of three instances."""

    async def asked() -> Any:
        world = World()
        await world.add(OTHER, TWO, ONE)
        reader = ArchiveReader(Principal("local", "ann", "a test"), world.queries, world.objects)
        return await ask(request(reader=reader, **path_params))

    return asyncio.run(asked())


@pytest.mark.parametrize(
    ("path_params", "sop_uids"),
    [
        ({"study": "1.2.3"}, ["1.2.3.1.1", "1.2.3.1.2", "1.2.3.2.1"]),
        ({"study": "1.2.3", "series": "1.2.3.1"}, ["1.2.3.1.1", "1.2.3.1.2"]),
        ({"study": "1.2.3", "series": "1.2.3.1", "instance": "1.2.3.1.2"}, ["1.2.3.1.2"]),
    ],
)
def test_a_path_names_the_instances_below_it(path_params: dict[str, str], sop_uids: list[str]) -> None:
    assert [location.sop_uid for location in located(locations_of, **path_params)] == sop_uids


def test_the_location_of_one_instance_includes_its_frames() -> None:
    location = located(location_of, study="1.2.3", series="1.2.3.1", instance="1.2.3.1.2")

    assert location.sop_uid == "1.2.3.1.2"
    assert location.frames


@pytest.mark.parametrize(
    ("path_params", "what"),
    [
        ({"study": "9"}, "study"),
        ({"study": "1.2.3", "series": "9"}, "series"),
        ({"study": "1.2.3", "series": "1.2.3.2", "instance": "1.2.3.1.1"}, "instance"),
    ],
)
def test_a_path_to_nothing_is_not_found_at_its_level(path_params: dict[str, str], what: str) -> None:
    with pytest.raises(NotFound, match=f"^{what}$"):
        located(locations_of, **path_params)


def test_a_malformed_uid_is_400_before_the_archive_is_asked() -> None:
    assert problem(lambda: located(locations_of, study="1.2.3", series="x")) == (400, "bad-uid")


# Frames


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1", [1]),
        ("3,1,1", [3, 1, 1]),
        ("007", [7]),
        ("0", [0]),
        ("999999999", [999_999_999]),
        (",".join(["1"] * MOST_FRAMES), [1] * MOST_FRAMES),
    ],
)
def test_frames_are_listed_in_the_order_asked_for(text: str, numbers: list[int]) -> None:
    assert frame_numbers_of(request(frames=text)) == numbers


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "1,,2",
        "1,",
        ",1",
        "-1",
        "+1",
        "1.0",
        "1 ,2",
        "1\n",
        "\u0661",
        "1_0",
        "1" * 10,
        "1," * MOST_FRAMES + "1",
    ],
)
def test_a_list_of_anything_else_and_of_too_many_frames_is_400(text: str) -> None:
    assert problem(lambda: frame_numbers_of(request(frames=text))) == (400, "bad-frames")


@pytest.mark.parametrize("numbers", [[0], [4], [1, 4], [3, 0]])
def test_a_frame_outside_the_instance_is_404(numbers: list[int]) -> None:
    assert problem(lambda: check_frames(Frames(kind="native", count=3), numbers)) == (404, "no-such-frame")


@pytest.mark.parametrize("numbers", [[1], [3], [3, 1, 2, 3]])
def test_frames_of_the_instance_are_there(numbers: list[int]) -> None:
    check_frames(Frames(kind="encapsulated", count=3), numbers)


def test_an_instance_without_pixels_has_no_frame() -> None:
    assert problem(lambda: check_frames(Frames(), [1])) == (404, "no-frames")


# Addresses


@pytest.mark.parametrize(
    ("uids", "path"),
    [
        (("1.2",), "/studies/1.2"),
        (("1.2", "1.2.3"), "/studies/1.2/series/1.2.3"),
        (("1.2", "1.2.3", "1.2.3.4"), "/studies/1.2/series/1.2.3/instances/1.2.3.4"),
    ],
)
def test_each_level_has_its_address(uids: tuple[str, ...], path: str) -> None:
    assert address(BASE, *uids) == BASE + path


def test_the_address_of_a_location_names_the_same_instance() -> None:
    location = located(location_of, study="1.2.3", series="1.2.3.1", instance="1.2.3.1.1")

    assert address_of(BASE, location) == f"{BASE}/studies/1.2.3/series/1.2.3.1/instances/1.2.3.1.1"
