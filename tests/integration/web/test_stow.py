"""Unmodified clients store in the running stack by STOW, as a modality does by DIMSE."""

import shutil
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE

from tests.support.worlds.reading import CT, part10
from tests.support.worlds.stow import PARTS, multipart

if TYPE_CHECKING:
    from deploy.local.running import RunningStack

WAIT_S = 30.0


@pytest.fixture
def client(stack: "RunningStack") -> Iterator[DICOMwebClient]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = DICOMwebClient(f"{stack.api_url}/dicomweb")
        yield found
        found._session.close()


def files(count: int) -> tuple[str, list[bytes]]:
    study, series = str(generate_uid()), str(generate_uid())
    uids: dict[str, Any] = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    return study, [
        part10(**uids, SOPInstanceUID=str(generate_uid()), InstanceNumber=number) for number in range(1, count + 1)
    ]


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until, f"the condition did not hold within {WAIT_S:.0f} s"
        time.sleep(0.1)


def instances(stack: "RunningStack", study: str) -> list[str]:
    answer = httpx.get(f"{stack.api_url}/dicomweb/studies/{study}/instances")
    return [found["00080018"]["Value"][0] for found in answer.json()]


def test_dicomweb_client_retrieves_the_study_that_it_stored(stack: "RunningStack", client: DICOMwebClient) -> None:
    study, sent = files(3)
    datasets = [dcmread(BytesIO(file)) for file in sent]

    answer = client.store_instances(datasets, study)
    wait_for(lambda: len(instances(stack, study)) == len(sent))
    found = client.retrieve_study(study, media_types=(("application/dicom", "*"),))

    uids = [dataset.SOPInstanceUID for dataset in datasets]
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == uids
    assert "FailedSOPSequence" not in answer
    assert sorted(found, key=lambda dataset: dataset.InstanceNumber) == datasets


def test_the_readmes_curl_command_stores_a_file(stack: "RunningStack", tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not here")
    study, (sent,) = files(1)
    (tmp_path / "file.dcm").write_bytes(sent)

    line = ["curl", "-sf", "-H", "Content-Type: application/dicom", "--data-binary", "@file.dcm"]
    subprocess.run([*line, f"{stack.api_url}/dicomweb/studies"], cwd=tmp_path, check=True, capture_output=True)

    wait_for(lambda: len(instances(stack, study)) == 1)


def test_the_same_content_by_dimse_and_stow_at_once_is_one_row(stack: "RunningStack") -> None:
    study, sent = files(8)
    datasets = [dcmread(BytesIO(file)) for file in sent]
    together, statuses = threading.Barrier(2), list[int]()

    def by_dimse() -> None:
        entity = AE(ae_title="MODALITY")
        entity.add_requested_context(CT, ExplicitVRLittleEndian)
        association = entity.associate("127.0.0.1", stack.dimse_port, ae_title=stack.ae_title)
        together.wait(WAIT_S)
        statuses.extend(association.send_c_store(dataset).Status for dataset in datasets)
        association.release()

    sending = threading.Thread(target=by_dimse)
    sending.start()
    together.wait(WAIT_S)
    answer = httpx.post(
        f"{stack.api_url}/dicomweb/studies", content=multipart(*sent), headers={"content-type": PARTS}, timeout=WAIT_S
    )
    sending.join(WAIT_S)
    wait_for(lambda: len(instances(stack, study)) == len(sent))

    assert (answer.status_code, statuses) == (200, [0] * len(sent))
    assert sorted(instances(stack, study)) == sorted(str(dataset.SOPInstanceUID) for dataset in datasets)
