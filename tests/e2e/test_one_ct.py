"""A CT study goes from a modality to a viewer, sent and read by other makers' programs."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset, dcmread

from tests.support.data.generate import Volume, files
from tests.support.proof import Proof
from tests.support.senders.files import sendable
from tests.support.senders.sender import Peer
from tests.support.senders.viewer import whole_data_set

SLICES = 20


def study(folder: Path, seed: int) -> list[Path]:
    return files(Volume(slices=SLICES, series=2, size=128, seed=seed), folder)


def pynetdicom(_: pytest.FixtureRequest, peer: Peer, paths: list[Path]) -> None:
    where = [peer.host, str(peer.port), str(paths[0].parent), "--recurse", "-aec", peer.ae_title, "-cx"]
    subprocess.run([sys.executable, "-m", "pynetdicom", "storescu", *where], check=True, timeout=60)


def storescu(request: pytest.FixtureRequest, peer: Peer, paths: list[Path]) -> None:
    request.getfixturevalue("dcmtk").run("storescu", "-aec", peer.ae_title, peer.host, peer.port, *paths)


def dcmsend(request: pytest.FixtureRequest, peer: Peer, paths: list[Path]) -> None:
    request.getfixturevalue("dcmtk").run("dcmsend", "-aec", peer.ae_title, peer.host, peer.port, *paths)


# A sending program, and the seed of the study that it sends.
SENDERS: dict[str, tuple[Callable[[pytest.FixtureRequest, Peer, list[Path]], None], int]] = {
    "pynetdicom": (pynetdicom, 11),
    "storescu": (storescu, 12),
    "dcmsend": (dcmsend, 13),
}


@pytest.mark.parametrize("program", SENDERS)
def test_a_study_sent_by_a_stock_program_is_stored_shown_and_settled(
    program: str, request: pytest.FixtureRequest, proof: Proof, tmp_path: Path
) -> None:
    sent_by, seed = SENDERS[program]
    paths = study(tmp_path, seed)
    lines = [sendable(path, proof.peer.tenant).line for path in paths]
    proof.ledger.plan(lines)

    sent_by(request, proof.peer, paths)
    proof.ledger.answers(lines, "acked", "0000")

    assert proof.wrong() == {}


@pytest.fixture(scope="module")
def kept(proof: Proof, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the files of a study that is stored and settled."""
    paths = study(tmp_path_factory.mktemp("kept"), 20)
    assert proof.send(paths).complete
    assert proof.wrong() == {}
    return paths


def test_curl_searches_and_retrieves(proof: Proof, kept: list[Path]) -> None:
    one = dcmread(kept[0])
    url = f"{proof.archive.api_url}/dicomweb/studies"

    found = curl(f"{url}?PatientID={one.PatientID}&limit=5")
    got = curl(f"{url}/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}/instances/{one.SOPInstanceUID}")

    assert found.count(b'"0020000D"') == 1
    assert one.StudyInstanceUID.encode() in found
    assert kept[0].read_bytes()[-1000:] in got


def curl(url: str) -> bytes:
    try:
        return subprocess.run(["curl", "--silent", "--fail", url], check=True, capture_output=True, timeout=60).stdout
    except FileNotFoundError:
        pytest.skip("curl is not installed")


def test_dicomweb_client_finds_and_retrieves_every_sent_instance(proof: Proof, kept: list[Path]) -> None:
    client = DICOMwebClient(url=f"{proof.archive.api_url}/dicomweb")
    sent = {one.SOPInstanceUID: one for one in map(dcmread, kept)}
    uid = next(iter(sent.values())).StudyInstanceUID

    studies = client.search_for_studies(search_filters={"StudyInstanceUID": uid})
    series = client.search_for_series(uid)
    instances = client.search_for_instances(uid)
    retrieved = client.retrieve_study(uid, media_types=(("application/dicom", "*"),))

    assert [Dataset.from_json(one).NumberOfStudyRelatedInstances for one in studies] == [SLICES]
    assert len(series) == 2
    assert {one["00080018"]["Value"][0] for one in instances} == set(sent)
    assert {one.SOPInstanceUID: one for one in retrieved} == sent


def test_dicomweb_client_reads_metadata_and_frames(proof: Proof, kept: list[Path]) -> None:
    client = DICOMwebClient(url=f"{proof.archive.api_url}/dicomweb")
    one = dcmread(kept[3])
    at = (one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID)

    metadata = whole_data_set(client, client.retrieve_instance_metadata(*at))
    frames = client.retrieve_instance_frames(*at, frame_numbers=[1], media_types=(("application/octet-stream", "*"),))

    assert metadata.PatientName == one.PatientName
    assert metadata.PixelData == one.PixelData
    assert frames == [one.PixelData]


def test_a_missing_study_is_answered_without_repeating_a_patients_id(proof: Proof, kept: list[Path]) -> None:
    token = str(dcmread(kept[0]).PatientID)

    answers = [httpx.get(f"{proof.archive.api_url}/dicomweb/studies/{what}") for what in ("1.2.3.4", token)]

    assert all(400 <= answer.status_code < 500 for answer in answers)
    assert not any(token in answer.text for answer in answers)
