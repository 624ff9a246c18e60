"""dicomweb-client, unmodified, reads from the running stack the study that a modality sent to it."""

import time
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid
from pynetdicom import AE

from tests.support.senders.viewer import whole_data_set
from tests.support.worlds.reading import CT, part10

if TYPE_CHECKING:
    from deploy.local.running import RunningStack

WAIT_S = 30.0
OCTETS = ("application/octet-stream", "*")


class Sent:
    """One study of two series as it was sent: native CT slices, and a compressed image of two frames."""

    def __init__(self) -> None:
        self.study, self.native, self.compressed = (str(generate_uid()) for _ in range(3))
        self.patient = f"DW{self.study[-8:]}"
        common = {"StudyInstanceUID": self.study, "PatientID": self.patient, "PatientName": "Müller^Dora"}
        slices: dict[str, Any] = {**common, "SeriesInstanceUID": self.native}
        images: dict[str, Any] = {**common, "SeriesInstanceUID": self.compressed, "SeriesNumber": 2}
        self.files = [
            *(part10(**slices, SOPInstanceUID=generate_uid(), InstanceNumber=number) for number in (1, 2, 3)),
            part10(
                JPEGBaseline8Bit,
                [b"\xff\xd8 first\xff\xd9", b"\xff\xd8 second \xff\xd9"],
                **images,
                SOPInstanceUID=generate_uid(),
                NumberOfFrames=2,
            ),
        ]
        self.datasets = [dcmread(BytesIO(whole)) for whole in self.files]

    def uid(self, index: int) -> str:
        return str(self.datasets[index].SOPInstanceUID)


def send(sent: Sent, stack: "RunningStack") -> None:
    entity = AE(ae_title="MODALITY")
    for syntax in (ExplicitVRLittleEndian, JPEGBaseline8Bit):
        entity.add_requested_context(CT, syntax)
    association = entity.associate("127.0.0.1", stack.dimse_port, ae_title=stack.ae_title)
    assert association.is_established
    statuses = [association.send_c_store(dataset).Status for dataset in sent.datasets]
    association.release()
    assert statuses == [0] * len(statuses)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds; fail after WAIT_S."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, f"the condition did not hold within {WAIT_S:.0f} s"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def client(stack: "RunningStack") -> DICOMwebClient:
    return DICOMwebClient(f"{stack.api_url}/dicomweb")


@pytest.fixture(scope="module")
def sent(stack: "RunningStack", client: DICOMwebClient) -> Sent:
    """The study, sent and cataloged."""
    study = Sent()
    send(study, stack)
    wait_for(lambda: len(client.search_for_instances(study.study)) == len(study.files))
    return study


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Hide warnings about our truncated test images and about the client's own code: they are not tested here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize(
    "filters",
    [
        {"PatientID": "{patient}"},
        {"00100020": "{patient}"},
        {"PatientName": "MULLER*", "PatientID": "{patient}"},
        {"StudyInstanceUID": "{study}"},
        {"ModalitiesInStudy": "CT", "PatientID": "DW*"},
        {"StudyDate": "20260101-20260103", "PatientID": "{patient}"},
    ],
)
def test_the_study_is_found(client: DICOMwebClient, sent: Sent, filters: dict[str, str]) -> None:
    named = {name: text.format(patient=sent.patient, study=sent.study) for name, text in filters.items()}
    found = client.search_for_studies(search_filters=named)

    assert sent.study in [study["0020000D"]["Value"][0] for study in found]


def test_the_studys_series_and_instances_are_found(client: DICOMwebClient, sent: Sent) -> None:
    series = client.search_for_series(sent.study)
    instances = client.search_for_instances(sent.study, sent.native)

    assert [found["0020000E"]["Value"][0] for found in series] == [sent.native, sent.compressed]
    assert [found["00080018"]["Value"][0] for found in instances] == [sent.uid(index) for index in range(3)]


@pytest.mark.parametrize("index", [0, 3])
def test_an_instance_is_retrieved_as_it_was_sent(client: DICOMwebClient, sent: Sent, index: int) -> None:
    series = sent.native if index == 0 else sent.compressed
    syntax = str(sent.datasets[index].file_meta.TransferSyntaxUID)
    found = client.retrieve_instance(sent.study, series, sent.uid(index), media_types=(("application/dicom", syntax),))

    assert found.file_meta.TransferSyntaxUID == syntax
    assert found == sent.datasets[index]


def test_a_series_and_a_study_are_retrieved_whole(client: DICOMwebClient, sent: Sent) -> None:
    series = client.retrieve_series(sent.study, sent.native)
    study = client.retrieve_study(sent.study, media_types=(("application/dicom", "*"),))

    assert series == sent.datasets[:3]
    assert {found.SOPInstanceUID for found in study} == {dataset.SOPInstanceUID for dataset in sent.datasets}


def test_metadata_equals_what_was_sent_and_leads_to_the_pixels(client: DICOMwebClient, sent: Sent) -> None:
    found = client.retrieve_series_metadata(sent.study, sent.native)
    headers = [whole_data_set(client, attributes) for attributes in found]

    for header, dataset in zip(headers, sent.datasets, strict=False):
        assert header.PatientName == dataset.PatientName
        assert header.SOPInstanceUID == dataset.SOPInstanceUID
        assert header.Rows == dataset.Rows
        assert header.PixelData == dataset.PixelData


def test_every_address_in_answers_leads_back_here(client: DICOMwebClient, sent: Sent) -> None:
    """The client writes Host without the port: the addresses have it all the same."""
    stored = client.store_instances([sent.datasets[0]])
    found = [
        {"Value": [stored.RetrieveURL]},
        {"Value": [stored.ReferencedSOPSequence[0].RetrieveURL]},
        *(hit["00081190"] for hit in client.search_for_studies(search_filters={"StudyInstanceUID": sent.study})),
        *(hit["00081190"] for hit in client.search_for_series(sent.study)),
        *(hit["00081190"] for hit in client.search_for_instances(sent.study)),
        {"Value": [client.retrieve_instance_metadata(sent.study, sent.native, sent.uid(0))["7FE00010"]["BulkDataURI"]]},
    ]
    addresses = [element["Value"][0] for element in found]

    with httpx.Client() as plain:
        statuses = {address: plain.get(address).status_code for address in addresses}
    assert all(address.startswith(f"{client.base_url}/studies/{sent.study}") for address in addresses)
    assert set(statuses.values()) == {200}, statuses


def test_frames_are_returned_in_the_requested_order(client: DICOMwebClient, sent: Sent) -> None:
    native = client.retrieve_instance_frames(sent.study, sent.native, sent.uid(0), [1], media_types=(OCTETS,))
    compressed = client.retrieve_instance_frames(
        sent.study, sent.compressed, sent.uid(3), [2, 1], media_types=(("image/jpeg", JPEGBaseline8Bit),)
    )

    assert native == [sent.datasets[0].PixelData]
    assert [frame.rstrip(b"\0") for frame in compressed] == [b"\xff\xd8 second \xff\xd9", b"\xff\xd8 first\xff\xd9"]


def test_a_series_that_the_client_has_is_not_sent_again(client: DICOMwebClient, sent: Sent) -> None:
    address = f"{client.base_url}/studies/{sent.study}/series/{sent.native}"
    with httpx.Client() as plain:
        first = plain.get(address)
        again = plain.get(address, headers={"if-none-match": first.headers["etag"]})
        head = plain.head(address)

    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    assert (head.status_code, head.content, head.headers["content-length"]) == (
        200,
        b"",
        first.headers["content-length"],
    )


def test_a_range_of_pixels_is_returned(client: DICOMwebClient, sent: Sent) -> None:
    address = f"{client.base_url}/studies/{sent.study}/series/{sent.native}/instances/{sent.uid(0)}/bulkdata/7FE00010"
    with httpx.Client() as plain:
        inside = plain.get(address, headers={"range": "bytes=2-5"})
        beyond = plain.get(address, headers={"range": "bytes=5000-"})

    assert (inside.status_code, inside.content) == (206, sent.datasets[0].PixelData[2:6])
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */12")
