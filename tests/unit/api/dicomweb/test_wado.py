"""Retrieving instances and metadata through the whole application (CONFORMANCE.md, WADO-RS)."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from operators.catalog.ports import Location
from operators.connectors.memory.queries import MemoryQueries
from operators.connectors.memory.stores import Outage, StoredBytes
from operators.dicom.element_json import DicomJson
from operators.dicom.json import dicom_json
from schemas.settings.web import ApiSettings
from tests.support.worlds.reading import World, bodies, deflated, part10, parts_of, storable_files

STUDY = "/dicomweb/studies/1.2.3"
SERIES = f"{STUDY}/series/1.2.3.1"
INSTANCE = f"{SERIES}/instances/1.2.3.1.1"
ONE = part10()
TWO = part10(SOPInstanceUID="1.2.3.1.2", InstanceNumber=2)
OTHER = part10(SeriesInstanceUID="1.2.3.2", SOPInstanceUID="1.2.3.2.1", SeriesNumber=2)

Change = Callable[[World], Awaitable[None] | None]


def ask(path: str, *files: bytes, change: Change | None = None, **headers: str) -> httpx.Response:
    """Send a request to an archive of these files, after `change` was applied to it."""

    async def asked() -> httpx.Response:
        world = World()
        await world.add(*files)
        if change and (waiting := change(world)):
            await waiting
        return await world.get(path, **headers)

    return asyncio.run(asked())


@pytest.mark.parametrize(
    ("path", "wanted"),
    [(STUDY, [ONE, TWO, OTHER]), (SERIES, [ONE, TWO]), (f"{STUDY}/series/1.2.3.2", [OTHER]), (INSTANCE, [ONE])],
)
def test_instances_are_answered_byte_for_byte_and_in_order(path: str, wanted: list[bytes]) -> None:
    response = ask(path, OTHER, TWO, ONE)

    assert bodies(response) == wanted
    assert int(response.headers["content-length"]) == len(response.content)
    assert response.headers["content-type"].startswith('multipart/related; type="application/dicom"; boundary=')


def test_each_part_names_its_transfer_syntax_size_and_address() -> None:
    (part,) = parts_of(ask(INSTANCE, ONE))

    assert part.headers == {
        "content-type": "application/dicom; transfer-syntax=1.2.840.10008.1.2.1",
        "content-length": str(len(ONE)),
        "content-location": f"http://localhost:8060{INSTANCE}",
    }


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("application/dicom", "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"),
        ("*/*", "multipart/related"),
    ],
)
def test_an_instance_is_answered_in_the_accepted_form(accept: str, media_type: str) -> None:
    response = ask(INSTANCE, ONE, accept=accept)

    assert response.status_code == 200
    assert response.headers["content-type"].startswith(media_type)


def test_a_form_that_is_not_stored_is_406_and_the_advice_names_the_stored_form() -> None:
    response = ask(INSTANCE, ONE, accept="application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90")

    assert response.status_code == 406
    assert "transfer-syntax=1.2.840.10008.1.2.1" in response.json()["advice"]


def test_several_instances_without_parts_are_406() -> None:
    assert ask(SERIES, ONE, TWO, accept="application/dicom").status_code == 406
    assert ask(SERIES, ONE, accept="application/dicom").content == ONE


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/dicomweb/studies/9", "no-such-study"),
        (f"{STUDY}/series/9", "no-such-series"),
        (f"{SERIES}/instances/9", "no-such-instance"),
        (f"{STUDY}/series/9/instances/1.2.3.1.1", "no-such-instance"),
        ("/dicomweb/studies/9/metadata", "no-such-study"),
        (f"{SERIES}/instances/9/frames/1", "no-such-instance"),
    ],
)
def test_a_missing_resource_is_404(path: str, reason: str) -> None:
    response = ask(path, ONE)

    assert (response.status_code, response.json()["reason"]) == (404, reason)


def test_another_tenants_instance_is_404() -> None:
    async def foreign(world: World) -> None:
        await world.add(part10(StudyInstanceUID="1.9"), tenant="other")

    assert ask("/dicomweb/studies/1.9", ONE, change=foreign).status_code == 404


@pytest.mark.parametrize(
    "path", ["/dicomweb/studies/1.2.a", f"{STUDY}/series/1.2.%2e%2e", f"{SERIES}/instances/{'1' * 65}/metadata"]
)
def test_a_malformed_uid_is_400(path: str) -> None:
    assert ask(path, ONE).status_code == 400


# Metadata


def test_metadata_is_the_header_in_the_dicom_json_model() -> None:
    private = bytes(range(256)) * 8
    file = part10(PatientID="", RedPaletteColorLookupTableData=private, OtherPatientIDs=["a", "b"])
    (found,) = ask(f"{INSTANCE}/metadata", file).json()

    assert found["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jürgen"}]}
    assert found["00100020"] == {"vr": "LO"}
    assert found["00101000"] == {"vr": "LO", "Value": ["a", "b"]}
    assert found["00200013"] == {"vr": "IS", "Value": [1]}
    assert found["00083002"] == {"vr": "UI", "Value": ["1.2.840.10008.1.2.1"]}
    assert found["00281201"] == {"vr": "OW", "BulkDataURI": f"http://localhost:8060{INSTANCE}/bulkdata/00281201"}
    assert not [tag for tag in found if tag.startswith("0002")]
    assert list(found) == sorted(found)


@pytest.mark.parametrize(
    ("host", "public_url", "origin"),
    [
        ("127.0.0.1", "", "http://127.0.0.1:8060"),
        ("localhost", "https://pacs.example.org/", "https://pacs.example.org"),
    ],
)
def test_addresses_lead_back_to_the_origin_whatever_host_the_client_writes(
    host: str, public_url: str, origin: str
) -> None:
    world = World(settings=ApiSettings(public_url=public_url))
    file = part10(RedPaletteColorLookupTableData=bytes(range(256)) * 8)

    async def asked() -> tuple[Any, Any]:
        await world.add(file)
        metadata = await world.get(f"{INSTANCE}/metadata", host=host)
        studies = await world.get("/dicomweb/studies", host=host)
        return metadata.json()[0], studies.json()[0]

    metadata, study = asyncio.run(asked())
    assert metadata["00281201"]["BulkDataURI"] == f"{origin}{INSTANCE}/bulkdata/00281201"
    assert study["00081190"]["Value"] == [f"{origin}{STUDY}"]


def test_a_binary_value_is_served_at_the_address_in_the_metadata() -> None:
    value = bytes(range(256)) * 8
    file = part10(RedPaletteColorLookupTableData=value)
    (found,) = ask(f"{INSTANCE}/metadata", file).json()

    assert ask(found["00281201"]["BulkDataURI"], file).content == value
    assert ask(f"{INSTANCE}/bulkdata/00281202", file).status_code == 404
    assert ask(f"{INSTANCE}/bulkdata/x/../y", file).status_code == 404


def test_metadata_of_a_study_is_that_of_its_instances_in_order() -> None:
    response = ask(f"{STUDY}/metadata", OTHER, TWO, ONE)

    assert [one["00080018"]["Value"][0] for one in response.json()] == ["1.2.3.1.1", "1.2.3.1.2", "1.2.3.2.1"]
    assert response.headers["content-type"] == "application/dicom+json"


DEFLATED_ONE = deflated(ONE)


async def unreadable(world: World) -> None:
    spoil(world, lambda data: data[:-40] + b"\xff" * 40)


def test_metadata_that_could_not_be_read_has_no_tag_and_is_not_cached() -> None:
    response = ask(f"{INSTANCE}/metadata", DEFLATED_ONE, change=unreadable)

    assert response.json()[0].keys() == {"00080016", "00080018", "00083002", "0020000D", "0020000E"}
    assert "etag" not in response.headers
    assert response.headers["cache-control"] == "no-store"


def test_the_tag_of_several_instances_metadata_is_weak_because_one_may_have_been_unreadable() -> None:
    assert ask(f"{STUDY}/metadata", ONE, TWO).headers["etag"].startswith("W/")
    assert not ask(f"{STUDY}/metadata", ONE).headers["etag"].startswith("W/")


def test_metadata_as_xml_is_406() -> None:
    response = ask(f"{STUDY}/metadata", ONE, accept='multipart/related; type="application/dicom+xml"')

    assert response.status_code == 406


# Faults


def test_altered_bytes_are_not_served() -> None:
    response = ask(INSTANCE, ONE, change=lambda world: spoil(world, lambda data: data[:-1] + b"!"))

    assert (response.status_code, response.json()["reason"]) == (500, "object-altered")


def test_a_shortened_object_is_not_served() -> None:
    for path in (INSTANCE, f"{INSTANCE}/metadata", f"{INSTANCE}/frames/1"):
        response = ask(path, ONE, change=lambda world: spoil(world, lambda data: data[:400]))

        assert (response.status_code, response.json()["reason"]) == (500, "object-short")


def test_a_missing_object_is_500_with_the_reason_object_missing() -> None:
    response = ask(INSTANCE, ONE, change=lambda world: world.objects.objects.clear())

    assert (response.status_code, response.json()["reason"]) == (500, "object-missing")


class ChangingQueries(MemoryQueries):
    """A catalog in which every instance has other content after the first look-up."""

    async def locate_one(self, tenant: str, study_uid: str, series_uid: str, sop_uid: str) -> Location | None:
        found = await super().locate_one(tenant, study_uid, series_uid, sop_uid)
        for key, row in self.rows.instances.items():
            self.rows.instances[key] = replace(row, prefix_hash="0" * 64)
        return found


def test_an_instance_whose_content_changes_during_the_request_is_503() -> None:
    def changing(world: World) -> None:
        world.objects.objects.clear()
        world.serve(ChangingQueries(rows=world.catalog.tables), world.objects)

    assert ask(f"{INSTANCE}/frames/1", ONE, change=changing).status_code == 503


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/dicomweb/studies", "catalog-unavailable"),
        (STUDY, "catalog-unavailable"),
        (f"{INSTANCE}/frames/1", "catalog-unavailable"),
    ],
)
def test_a_database_that_is_away_is_503_with_retry_after(path: str, reason: str) -> None:
    response = ask(path, ONE, change=lambda world: setattr(world.queries, "outage", Outage.REFUSES))

    assert (response.status_code, response.json()["reason"]) == (503, reason)
    assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize("path", [STUDY, INSTANCE, f"{INSTANCE}/metadata", f"{INSTANCE}/frames/1"])
def test_a_store_that_is_away_is_503_with_retry_after(path: str) -> None:
    response = ask(path, ONE, change=lambda world: setattr(world.objects, "outage", Outage.REFUSES))

    assert (response.status_code, response.json()["reason"]) == (503, "store-unavailable")


def spoil(world: World, change: Callable[[bytes], bytes]) -> None:
    for place, held in world.objects.objects.items():
        world.objects.objects[place] = StoredBytes(change(held.data), held.metadata)


def test_every_file_is_retrieved_byte_for_byte_with_metadata_in_utf_8(corpus: Path) -> None:
    async def read(whole: bytes, address: str) -> tuple[bytes, bytes]:
        world = World()
        await world.add(whole)
        one = await world.get(address, accept="application/dicom")
        metadata = await world.get(f"{address}/metadata")
        assert metadata.status_code == 200
        return one.content, metadata.content

    seen = 0
    for name, whole, address in storable_files(corpus):
        content, metadata = asyncio.run(read(whole, address))
        (found,) = json.loads(metadata.decode("utf-8"))
        seen += 1

        assert content == whole, name
        assert found["00080018"]["Value"] == [address.rpartition("/")[2]], name

    assert seen > 400


def test_an_unexpected_error_at_one_header_leaves_the_metadata_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def sometimes(header: bytes, *given: Any, **named: Any) -> DicomJson:
        if b"1.2.3.1.2" in header:
            raise ZeroDivisionError
        return dicom_json(header, *given, **named)

    monkeypatch.setattr("api.dicomweb.wado.dicom_json", sometimes)

    first, second = ask(f"{STUDY}/metadata", ONE, TWO).json()

    assert len(first) > 10
    assert second["00080018"]["Value"] == ["1.2.3.1.2"]
    assert set(second) == {"00080016", "00080018", "00083002", "0020000D", "0020000E"}
