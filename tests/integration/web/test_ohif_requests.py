"""Each request that OHIF's DICOMweb data source sends is answered as OHIF needs it.

The requests are those of npm's @ohif/extension-default 3.13.2 and its dicomweb-client 0.11: query strings as
`encodeURIComponent` makes them, and Accept headers letter by letter. They go to an archive in memory.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from pydicom.uid import JPEGBaseline8Bit

from tests.support.worlds.pictures import Ask, archive, without_pixels
from tests.support.worlds.reading import ROOT, part10, parts_of

JSON = {"accept": "application/dicom+json"}
FIELDS = "00081030,00080060,00080090,00100030"
STUDY = "/dicomweb/studies/1.2.3"
CT, PDF = f"{STUDY}/series/1.2.3.1", f"{STUDY}/series/1.2.3.2"
FRAMES = 'multipart/related; type="application/octet-stream"; transfer-syntax="*"'
FRAMES_UNQUOTED = "multipart/related; type=application/octet-stream; transfer-syntax=*"
BULK = 'multipart/related; type="application/octet-stream"'


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """An archive of a study with CT slices and a PDF, one of compressed ultrasound, and one of MR."""
    with archive(
        *(
            part10(
                StudyDescription="CT Thorax",
                SeriesDescription="Axial",
                SeriesDate="20260102",
                SeriesTime="101600",
                SOPInstanceUID=f"1.2.3.1.{number}",
                InstanceNumber=number,
            )
            for number in (1, 2)
        ),
        without_pixels(
            part10(
                SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1",
                SeriesInstanceUID="1.2.3.2",
                SOPInstanceUID="1.2.3.2.1",
                SeriesNumber=2,
                Modality="DOC",
                EncapsulatedDocument=b"%PDF-1.4\n" + bytes(2000),
                MIMETypeOfEncapsulatedDocument="application/pdf",
            )
        ),
        part10(
            JPEGBaseline8Bit,
            [b"\xff\xd8 first\xff\xd9", b"\xff\xd8 second \xff\xd9"],
            NumberOfFrames=2,
            StudyInstanceUID="1.2.4",
            SeriesInstanceUID="1.2.4.1",
            SOPInstanceUID="1.2.4.1.1",
            StudyDate="20260203",
            Modality="US",
            PatientID="P_2",
            PatientName="Smith^Ann",
            AccessionNumber="B7",
        ),
        part10(
            StudyInstanceUID="1.2.5",
            SeriesInstanceUID="1.2.5.1",
            SOPInstanceUID="1.2.5.1.1",
            StudyDate="20260304",
            Modality="MR",
            PatientID="Q3",
            PatientName="王^小東",
            SpecificCharacterSet="ISO_IR 192",
            AccessionNumber="C8",
            StudyDescription="Knee",
        ),
    ) as asked:
        yield asked


def values(found: list[dict[str, Any]], tag: str) -> list[Any]:
    return [one.get(tag, {}).get("Value", [None])[0] for one in found]


def search(ask: Ask, path: str, **parameters: str) -> list[dict[str, Any]]:
    """Send a query as dicomweb-client writes it."""
    query = "&".join(f"{name.removeprefix('_')}={quote(value, safe='!()*~')}" for name, value in parameters.items())
    response = ask(f"{path}?{query}", **JSON)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()
    return found


def studies(ask: Ask, **filters: str) -> list[dict[str, Any]]:
    """Send the query of the study list: the filters first, as OHIF orders them."""
    page = {"limit": "101", "offset": "0", "fuzzymatching": "false", "includefield": FIELDS}
    return search(ask, "/dicomweb/studies", **filters, **page)


def test_the_study_list_has_what_its_columns_show(ask: Ask) -> None:
    found = studies(ask)

    assert values(found, "0020000D") == ["1.2.5", "1.2.4", "1.2.3"]
    ct = found[2]
    columns = ("00080020", "00080030", "00080050", "00081030", "00100020", "00201208")
    assert [ct[tag]["Value"][0] for tag in columns] == ["20260102", "101530", "A1", "CT Thorax", "P_1", 3]
    assert ct["00100010"]["Value"] == [{"Alphabetic": "Müller^Jürgen"}]
    assert ct["00080061"]["Value"] == ["CT", "DOC"]
    assert (ct["00080090"]["Value"], ct["00100030"]["Value"]) == ([{"Alphabetic": "House^Gregory"}], ["19700101"])


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"PatientName": "*N*"}, ["1.2.4", "1.2.3"]),
        ({"PatientName": "*sm*"}, ["1.2.4"]),
        ({"PatientName": "*王*"}, ["1.2.5"]),
        ({"PatientName": "*q*"}, []),
        ({"_00100020": "*P*"}, ["1.2.4", "1.2.3"]),
        ({"_00100020": "*P_2*"}, ["1.2.4"]),
        ({"AccessionNumber": "*7*"}, ["1.2.4"]),
        ({"AccessionNumber": "*B7*"}, ["1.2.4"]),
        ({"StudyDescription": "*t*"}, ["1.2.3"]),
        ({"StudyDescription": "*THORAX*"}, ["1.2.3"]),
        ({"ModalitiesInStudy": "CT,US"}, ["1.2.4", "1.2.3"]),
        ({"ModalitiesInStudy": "MR"}, ["1.2.5"]),
        ({"StudyDate": "20260102-20260203"}, ["1.2.4", "1.2.3"]),
        ({"StudyDate": "19700102-20260102"}, ["1.2.3"]),
        ({"StudyInstanceUID": r"1.2.3\1.2.5"}, ["1.2.5", "1.2.3"]),
        ({"StudyInstanceUID": "1.2.4", "ModalitiesInStudy": "CT,US", "PatientName": "*a*"}, ["1.2.4"]),
    ],
)
def test_each_filter_of_the_study_list_finds_what_it_says(ask: Ask, filters: dict[str, str], found: list[str]) -> None:
    assert values(studies(ask, **filters), "0020000D") == found


def test_a_page_of_the_study_list_follows_the_one_before(ask: Ask) -> None:
    page = search(ask, "/dicomweb/studies", limit="2", offset="1", fuzzymatching="true", includefield=FIELDS)

    assert values(page, "0020000D") == ["1.2.4", "1.2.3"]


@pytest.mark.parametrize("fields", ["0008103E,00080021", "00080021,00080031,0008103E,00200011"])
def test_the_series_of_a_study_have_what_the_browser_shows_and_sorts_by(ask: Ask, fields: str) -> None:
    found = search(ask, f"{STUDY}/series", includefield=fields)

    assert values(found, "0020000E") == ["1.2.3.1", "1.2.3.2"]
    assert values(found, "00200011") == [1, 2]
    shown = ("0020000D", "00080060", "0008103E", "00080021", "00080031", "00201209")
    assert [found[0][tag]["Value"][0] for tag in shown] == ["1.2.3", "CT", "Axial", "20260102", "101600", 2]


def test_one_series_is_found_by_its_uid(ask: Ask) -> None:
    fields = "00080021,00080031,0008103E,00200011"
    found = search(ask, f"{STUDY}/series", includefield=fields, SeriesInstanceUID="1.2.3.2")

    assert values(found, "0020000E") == ["1.2.3.2"]


def test_the_first_instance_of_a_series_is_found_for_its_thumbnail(ask: Ask) -> None:
    assert values(search(ask, f"{CT}/instances", limit="1", includefield="00080018"), "00080018") == ["1.2.3.1.1"]


def test_metadata_of_a_series_says_how_to_show_it_and_where_its_bytes_are(ask: Ask) -> None:
    found = ask(f"{CT}/metadata", **JSON).json()
    document = ask(f"{PDF}/metadata", **JSON).json()[0]

    assert values(found, "00080018") == ["1.2.3.1.1", "1.2.3.1.2"]
    assert (values(found, "00280010"), values(found, "00280100")) == ([2, 2], [16, 16])
    assert values(found, "00083002") == ["1.2.840.10008.1.2.1"] * 2
    assert document["00420011"]["BulkDataURI"].startswith(f"{ROOT}{PDF}/instances/1.2.3.2.1/")


@pytest.mark.parametrize("accept", [FRAMES, FRAMES_UNQUOTED])
def test_a_frame_comes_in_a_part_that_names_its_transfer_syntax(ask: Ask, accept: str) -> None:
    native = ask(f"{CT}/instances/1.2.3.1.1/frames/1", accept=accept)
    compressed = ask("/dicomweb/studies/1.2.4/series/1.2.4.1/instances/1.2.4.1.1/frames/2", accept=accept)

    ((one,), (other,)) = (parts_of(response) for response in (native, compressed))
    assert len(one.body) == 12
    assert "transfer-syntax=1.2.840.10008.1.2.1" in one.headers["content-type"]
    assert other.body.rstrip(b"\0") == b"\xff\xd8 second \xff\xd9"
    assert other.headers["content-type"] == "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50"


def test_bulk_data_comes_in_a_part_from_the_address_in_the_metadata(ask: Ask) -> None:
    (document,) = ask(f"{PDF}/metadata", **JSON).json()
    (part,) = parts_of(ask(document["00420011"]["BulkDataURI"].removeprefix(ROOT), accept=BULK))

    assert part.body.startswith(b"%PDF-1.4\n")


def test_an_instance_is_prefetched_whole(ask: Ask) -> None:
    (part,) = parts_of(
        ask(
            "/dicomweb/studies/1.2.4/series/1.2.4.1/instances/1.2.4.1.1",
            accept='multipart/related; type="application/dicom"',
        )
    )

    assert part.body[128:132] == b"DICM"


@pytest.mark.parametrize("accept", ["*/*", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"])
@pytest.mark.parametrize("query", ["", "?accept=application/pdf"])
def test_a_pdf_opens_in_place(ask: Ask, accept: str, query: str) -> None:
    document = ask(f"{PDF}/instances/1.2.3.2.1/rendered{query}", accept=accept)

    assert (document.status_code, document.headers["content-type"]) == (200, "application/pdf")
    assert document.headers["content-disposition"] == "inline"


@pytest.mark.parametrize(
    "resource", [f"{CT}/instances/1.2.3.1.1/rendered", *(f"{at}/thumbnail" for at in (f"{CT}/instances/1.2.3.1.1", CT))]
)
def test_thumbnails_are_pictures(ask: Ask, resource: str) -> None:
    picture = ask(f"{resource}?accept=image%2Fjpeg", accept="*/*")

    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")
