"""Searching through the whole application, over rows that the catalog job made (CONFORMANCE.md, QIDO-RS)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from api.dicomweb.qido import warnings
from operators.catalog.ports import Page
from operators.catalog.query import Query
from tests.support.worlds.reading import ROOT, World, ordered, part10

DICOMWEB = f"{ROOT}/dicomweb"


def ask(path: str, *, files: Callable[[World], Awaitable[None]] | None = None, **headers: str) -> httpx.Response:
    """Send a request to an archive, by default of two_studies."""

    async def asked() -> httpx.Response:
        world = World()
        await (files or two_studies)(world)
        return await world.get(path, **headers)

    return asyncio.run(asked())


async def two_studies(world: World) -> None:
    """Add 1.2.3 with a CT series of two and an SR series of one, 1.2.4 with an MR series, and a foreign study."""
    await world.add(
        part10(),
        part10(SOPInstanceUID="1.2.3.1.2", InstanceNumber=2),
        part10(SeriesInstanceUID="1.2.3.2", SOPInstanceUID="1.2.3.2.1", Modality="SR", SeriesNumber=2),
        part10(
            StudyInstanceUID="1.2.4",
            SeriesInstanceUID="1.2.4.1",
            SOPInstanceUID="1.2.4.1.1",
            Modality="MR",
            StudyDate="20260103",
            StudyTime="235959",
            AccessionNumber="A2",
            PatientID="PX1",
            PatientName="Smith^Ann",
            StudyID=None,
            StudyDescription="Knee 100%",
        ),
    )
    await world.add(part10(StudyInstanceUID="1.9", PatientID="FOREIGN"), tenant="other")


def values(response: httpx.Response, tag: str) -> list[Any]:
    assert response.status_code == 200, response.text
    return [one.get(tag, {}).get("Value", [None])[0] for one in response.json()]


def studies(query: str) -> list[str]:
    return values(ask(f"/dicomweb/studies?{query}"), "0020000D")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["1.2.4", "1.2.3"]),
        ("PatientID=P_1", ["1.2.3"]),
        ("00100020=P_1", ["1.2.3"]),
        ("PatientID=p_1", []),
        ("PatientID=P_*", ["1.2.3"]),
        ("PatientID=P?1", ["1.2.4", "1.2.3"]),
        ("PatientID=P%25", []),
        ("StudyDescription=*100%25", ["1.2.4"]),
        ("StudyDescription=*100_", []),
        ("PatientName=MULLER^JURGEN", ["1.2.3"]),
        ("PatientName=m%C3%BCll*", ["1.2.3"]),
        ("PatientName=Muller", []),
        ("StudyInstanceUID=1.2.3,1.2.4", ["1.2.4", "1.2.3"]),
        ("StudyInstanceUID=1.2.3%5C1.2.9", ["1.2.3"]),
        ("StudyDate=20260102", ["1.2.3"]),
        ("StudyDate=20260102-20260103", ["1.2.4", "1.2.3"]),
        ("StudyDate=-20260102", ["1.2.3"]),
        ("StudyDate=20260103-", ["1.2.4"]),
        ("StudyTime=10", ["1.2.3"]),
        ("StudyTime=1016-", ["1.2.4"]),
        ("AccessionNumber=A2&StudyDate=20260102", []),
        ("ModalitiesInStudy=SR", ["1.2.3"]),
        ("ModalitiesInStudy=?R", ["1.2.4", "1.2.3"]),
        ("ModalitiesInStudy=CT,US", ["1.2.3"]),
        ("ModalitiesInStudy=CT%2CMR", ["1.2.4", "1.2.3"]),
        ("StudyDescription=knee 100%25", ["1.2.4"]),
        ("StudyDescription=*KNEE*", ["1.2.4"]),
        ("AccessionNumber=a2", []),
        ("ModalitiesInStudy=ct", []),
        ("PatientName=*N*", ["1.2.4", "1.2.3"]),
        ("StudyID=%22%22&emptyvaluematching=true", ["1.2.4"]),
        ("NumberOfStudyRelatedSeries=2", ["1.2.3"]),
        ("PatientID=FOREIGN", []),
        ("PatientID=*' OR 1=1 --", []),
        ("Nonsense=1", ["1.2.4", "1.2.3"]),
    ],
)
def test_a_search_returns_the_matching_studies(query: str, found: list[str]) -> None:
    assert studies(query) == found


def test_a_found_study_has_all_its_modalities_its_counts_and_its_address() -> None:
    (study,) = ask("/dicomweb/studies?ModalitiesInStudy=SR").json()

    assert study["00080061"] == {"vr": "CS", "Value": ["CT", "SR"]}
    assert study["00201206"] == {"vr": "IS", "Value": [2]}
    assert study["00201208"] == {"vr": "IS", "Value": [3]}
    assert study["00081190"] == {"vr": "UR", "Value": [f"{DICOMWEB}/studies/1.2.3"]}
    assert study["00080056"] == {"vr": "CS", "Value": ["ONLINE"]}
    assert study["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jürgen"}]}
    assert list(study) == sorted(study)


@pytest.mark.parametrize(
    ("path", "tag", "found"),
    [
        ("studies/1.2.3/series", "0020000E", ["1.2.3.1", "1.2.3.2"]),
        ("studies/1.2.3/series?Modality=SR", "0020000E", ["1.2.3.2"]),
        ("studies/1.2.3/series/1.2.3.1/instances", "00080018", ["1.2.3.1.1", "1.2.3.1.2"]),
        ("studies/1.2.3/series/1.2.3.1/instances?InstanceNumber=2", "00080018", ["1.2.3.1.2"]),
        ("studies/1.2.3/instances", "00080018", ["1.2.3.1.1", "1.2.3.1.2", "1.2.3.2.1"]),
        ("series", "0020000E", ["1.2.4.1", "1.2.3.1", "1.2.3.2"]),
        ("series?PatientName=smith*", "0020000E", ["1.2.4.1"]),
        ("instances?Modality=MR", "00080018", ["1.2.4.1.1"]),
        ("instances?SOPInstanceUID=1.2.3.2.1", "00080018", ["1.2.3.2.1"]),
        ("studies/1.2.9/series", "0020000E", []),
    ],
)
def test_series_and_instances_are_found_in_a_stable_order(path: str, tag: str, found: list[str]) -> None:
    assert values(ask(f"/dicomweb/{path}"), tag) == found


async def two_orders(world: World) -> None:
    """Add a series with two orders, a series with one order, and a series without an order."""
    items = {"1": [ordered("S1", "R1"), ordered("S_2", "R2")], "2": [ordered("S3", "R1")], "3": None}
    for series, requests in items.items():
        uid = f"1.2.3.{series}"
        named: dict[str, Any] = {"SeriesInstanceUID": uid, "SOPInstanceUID": f"{uid}.1", "SeriesNumber": int(series)}
        await world.add(part10(**named, RequestAttributesSequence=requests))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("RequestAttributesSequence.ScheduledProcedureStepID=S1", ["1"]),
        ("00400275.00400009=S_2", ["1"]),
        ("00400275.ScheduledProcedureStepID=S%3F2", ["1"]),
        ("RequestAttributesSequence.00400009=S%25", []),
        ("RequestAttributesSequence.RequestedProcedureID=R1", ["1", "2"]),
        ("00400275.00401001=R1&00400275.00400009=S3", ["2"]),
        ("00400275.00401001=R9", []),
        ("00400275.00401001=R2%5CR1&multiplevaluematching=true", ["1", "2"]),
        ("00400275.00401001=%22%22&emptyvaluematching=true", ["3"]),
    ],
)
def test_a_series_is_found_by_its_request_attributes_in_any_spelling_of_the_path(query: str, found: list[str]) -> None:
    response = ask(f"/dicomweb/series?{query}", files=two_orders)

    assert values(response, "0020000E") == [f"1.2.3.{series}" for series in found]


def test_request_attributes_come_back_as_a_sequence() -> None:
    one, _, none = ask("/dicomweb/studies/1.2.3/series", files=two_orders).json()

    assert one["00400275"]["vr"] == "SQ"
    assert [item["00401001"]["Value"] for item in one["00400275"]["Value"]] == [["R1"], ["R2"]]
    assert "00400275" not in none


NAMED = {
    "1.1": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "1.2": "Núñez^José",
    "1.3": "STRASSE^KARL",
    "1.4": "Ιωάννης^Νίκος",
}


async def four_names(world: World) -> None:
    """Add a study for each of the names in NAMED."""
    for uid, name in NAMED.items():
        named: dict[str, Any] = {
            "StudyInstanceUID": uid,
            "SeriesInstanceUID": f"{uid}.1",
            "SOPInstanceUID": f"{uid}.1.1",
        }
        await world.add(part10(SpecificCharacterSet="ISO_IR 192", PatientName=name, **named))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("yamada^tarou", ["1.1"]),
        ("山田^太郎", ["1.1"]),
        ("山田*", ["1.1"]),
        ("やまだ^たろう", ["1.1"]),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ["1.1"]),
        ("nunez^jose", ["1.2"]),
        ("NÚÑEZ*", ["1.2"]),
        ("straße^karl", ["1.3"]),
        ("ιωαννης*", ["1.4"]),
        ("tarou", []),
        ("山田", []),
        ("n%^jose", []),
    ],
)
def test_names_match_in_every_component_group_regardless_of_case_and_accents(name: str, found: list[str]) -> None:
    response = ask(f"/dicomweb/studies?PatientName={quote(name)}", files=four_names)

    assert values(response, "0020000D") == found


def test_required_attributes_without_a_value_are_empty_in_the_result() -> None:
    async def bare(world: World) -> None:
        named = ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "PatientName", "PatientID")
        others = ("PatientBirthDate", "PatientSex", "StudyID", "Modality", "SeriesNumber", "InstanceNumber")
        nothing: dict[str, Any] = dict.fromkeys((*named, *others))
        await world.add(part10(**nothing))

    (study,) = ask("/dicomweb/studies", files=bare).json()
    (series,) = ask("/dicomweb/studies/1.2.3/series", files=bare).json()
    (instance,) = ask("/dicomweb/studies/1.2.3/series/1.2.3.1/instances", files=bare).json()

    assert study["00100010"] == {"vr": "PN"}
    assert {"00080020", "00080030", "00080050", "00080090", "00100020", "00100030", "00100040"} < set(study)
    assert {"00200010", "00080056", "00080061", "00081190", "0020000D", "00201206", "00201208"} < set(study)
    assert {"00080060", "0020000E", "00200011", "00201209", "00081190", "00080056"} < set(series)
    assert {"00080016", "00080018", "00080056", "00081190", "00200013", "00280010"} < set(instance)


def test_a_study_without_a_modality_has_an_empty_list_of_them() -> None:
    async def bare(world: World) -> None:
        await world.add(part10(Modality=None))

    (study,) = ask("/dicomweb/studies", files=bare).json()

    # OHIF counts the list of each study, and shows none where one study has no list.
    assert study["00080061"] == {"vr": "CS", "Value": []}


def test_a_time_zone_in_the_query_is_ignored_with_a_warning() -> None:
    response = ask("/dicomweb/studies?TimezoneOffsetFromUTC=%2B0500&StudyTime=1015")

    assert values(response, "0020000D") == ["1.2.3"]
    assert "TimezoneOffsetFromUTC" in response.headers["warning"]


def test_paging_through_a_thousand_studies_returns_each_once() -> None:
    """The studies have few different dates, so that most of the order is by UID."""
    whole = [f"1.5.{number}" for number in range(1000)]

    async def paged() -> list[str]:
        world, found = World(), list[str]()
        await world.add(part10())
        row = world.catalog.tables.studies.pop(("local", "1.2.3"))
        for number, uid in enumerate(whole):
            day = date(2026, 1, 1 + number % 7)
            world.catalog.tables.studies["local", uid] = replace(row, study_uid=uid, study_date=day, attributes={})
        while page := (await world.get(f"/dicomweb/studies?limit=37&offset={len(found)}")).json():
            found += [one["0020000D"]["Value"][0] for one in page]
        return found

    assert sorted(asyncio.run(paged())) == sorted(whole)


def test_attributes_of_the_study_in_the_path_are_left_out_unless_requested() -> None:
    named = ask("/dicomweb/studies/1.2.3/series").json()[0]
    asked = ask("/dicomweb/studies/1.2.3/series?includefield=PatientName").json()[0]
    everything = ask("/dicomweb/studies/1.2.3/series?includefield=all").json()[0]
    unnamed = ask("/dicomweb/series").json()[0]

    assert "00100010" not in named
    assert set(asked) - set(named) == {"00100010"}
    assert {"00100010", "00100020", "00201208"} <= set(everything) & set(unnamed)


def test_a_warning_says_how_many_results_remain_after_a_page() -> None:
    cut = ask("/dicomweb/instances?limit=1&offset=1")

    assert len(cut.json()) == 1
    assert cut.headers["warning"] == f'299 {DICOMWEB} "There are 2 additional results that can be requested"'
    assert "warning" not in ask("/dicomweb/instances?limit=2&offset=2").headers


def test_a_warning_says_at_least_when_the_results_were_not_counted_to_the_end() -> None:
    def told(remaining: int) -> tuple[str, ...]:
        return warnings(Page((), remaining), Query("study", most_counted=10))

    assert told(9) == ("There are 9 additional results that can be requested",)
    assert told(10) == ("There are at least 10 additional results that can be requested",)


@pytest.mark.parametrize(("query", "left"), [("limit=0", 1), ("offset=50", 0)])
def test_a_search_without_results_is_an_empty_array_and_not_204(query: str, left: int) -> None:
    response = ask(f"/dicomweb/studies?{query}")

    assert (response.status_code, response.json(), len(response.headers.get_list("warning"))) == (200, [], left)


def test_the_pages_together_are_the_whole_result() -> None:
    whole = values(ask("/dicomweb/instances"), "00080018")
    pages = [values(ask(f"/dicomweb/instances?limit=1&offset={offset}"), "00080018") for offset in range(4)]

    assert [uid for page in pages for uid in page] == whole


@pytest.mark.parametrize(
    ("accept", "status", "media_type"),
    [
        ("application/dicom+json", 200, "application/dicom+json"),
        ("application/json", 200, "application/json"),
        ("*/*", 200, "application/dicom+json"),
        ("application/json;q=0.1, application/dicom+json", 200, "application/dicom+json"),
        ("application/dicom+json;q=0, application/*;q=0.5", 200, "application/json"),
        ('multipart/related; type="application/dicom+xml"', 406, "application/json"),
        ("text/html", 406, "application/json"),
    ],
)
def test_the_answer_has_the_accepted_json_media_type(accept: str, status: int, media_type: str) -> None:
    response = ask("/dicomweb/studies", accept=accept)

    assert (response.status_code, response.headers["content-type"]) == (status, media_type)


def test_the_accept_parameter_overrides_the_header() -> None:
    response = ask("/dicomweb/studies?accept=application/json", accept="text/html")

    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["studies?StudyDate=tomorrow", "studies?limit=ten", "studies/1.2.x/series"])
def test_a_malformed_request_is_400_with_advice(path: str) -> None:
    response = ask(f"/dicomweb/{path}")

    assert response.status_code == 400
    assert set(response.json()) == {"reason", "advice"}
    assert "tomorrow" not in response.text


def test_each_warning_has_a_header_of_its_own() -> None:
    response = ask("/dicomweb/studies?fuzzymatching=true&Nonsense=1")

    assert len(response.headers.get_list("warning")) == 2


def test_an_instance_in_a_tier_that_this_release_does_not_know_hides_no_other() -> None:
    async def one_in_another_tier(world: World) -> None:
        await two_studies(world)
        name, row = next(iter(world.catalog.tables.instances.items()))
        world.catalog.tables.instances[name] = replace(row, tier="glacier")

    found = values(ask("/dicomweb/instances", files=one_in_another_tier), "00080056")

    assert sorted(found) == ["ONLINE", "ONLINE", "ONLINE", "UNAVAILABLE"]


def test_a_study_that_has_changed_is_answered_as_it_is_now_and_to_each_client_with_its_own_addresses() -> None:
    async def asked() -> list[Any]:
        world = World()
        answers = []
        for number in (1, 2):
            await world.add(part10(SOPInstanceUID=f"1.2.3.1.{number}", InstanceNumber=number))
            for host in ("localhost", "127.0.0.1"):
                (study,) = (await world.get(f"{DICOMWEB}/studies", Host=host)).json()
                answers.append((study["00201208"]["Value"][0], study["00081190"]["Value"][0].split("/")[2]))
        return answers

    hosts = ("localhost:8060", "127.0.0.1:8060")
    assert asyncio.run(asked()) == [(count, host) for count in (1, 2) for host in hosts]
