"""An object that is damaged on the store's own disk, or gone, is good again once its instance is sent again."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread

from tests.audit.collect.object_store import listed, store
from tests.audit.snapshot import key_of
from tests.support.data.generate import Volume, files
from tests.support.machine.damaged_disk import DAMAGES, damage, damage_metadata, file_of
from tests.support.machine.running_stack import address_of
from tests.support.proof import Proof
from tests.support.senders.files import sendable
from tests.support.senders.stow import Door, stow
from tests.support.senders.viewer import whole_data_set

HOT, QUARANTINE = "fluoro-hot", "fluoro-quarantine"
PATIENCE_S = 3.0
# The pixels of a slice, by side: a large object has a file of its own on the disk, a small one lies in its metadata.
SIDES = {"inlined": 64, "in a file": 512}


def by_dimse(proof: Proof, path: Path) -> bool:
    """Send a file by C-STORE; True if it was acknowledged."""
    return proof.send([path]).complete


def by_stow(proof: Proof, path: Path) -> bool:
    """Send a file by STOW-RS; True if it was acknowledged."""
    door = Door(proof.archive.api_url, patience_s=PATIENCE_S)
    return set(stow([path], door, proof.ledger, requests=1).values()) == {"0000"}


def object_of(proof: Proof, key: str) -> bytes:
    with store(address_of(proof.archive)) as client:
        answer = client.get_object(HOT, key)
        try:
            return answer.read()
        finally:
            answer.release_conn()


def aside(proof: Proof, data_hash: str) -> dict[str, int]:
    """Return the key and size of what is kept of an instance's damaged objects."""
    with store(address_of(proof.archive)) as client:
        found = listed(client, (QUARANTINE,))
        return {key: size for _, key, size in found if key.startswith(f"local/damaged/{data_hash}/")}


@pytest.mark.fault("F9", "an object is {how} on the store's disk ({size}), and sent again")
@pytest.mark.parametrize("again", [by_dimse, by_stow])
@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("size", SIDES)
def test_what_is_sent_again_for_an_object_damaged_on_the_disk_is_stored_and_the_bad_bytes_are_aside(
    proof: Proof, tmp_path: Path, size: str, how: str, again: Callable[[Proof, Path], bool]
) -> None:
    seed = int.from_bytes(hashlib.sha256(f"{size}{how}{again.__name__}".encode()).digest()[:3])
    (path,) = files(Volume(slices=1, size=SIDES[size], seed=seed), tmp_path)
    line = sendable(path, proof.peer.tenant).line
    assert by_dimse(proof, path)
    good, folder = object_of(proof, key_of(line)), proof.archive.folder.root / "minio"
    assert (file_of(folder, HOT, key_of(line)).name == "xl.meta") == (size == "inlined")
    damage(folder, HOT, key_of(line), how)

    assert again(proof, path)

    assert object_of(proof, key_of(line)) == good
    assert len(aside(proof, line.data_hash)) == 1


def test_an_object_whose_metadata_are_damaged_is_not_acknowledged_until_it_is_moved_away(
    proof: Proof, tmp_path: Path
) -> None:
    (path,) = files(Volume(slices=1, size=64, seed=91), tmp_path)
    line = sendable(path, proof.peer.tenant).line
    assert by_stow(proof, path)
    good, folder = object_of(proof, key_of(line)), proof.archive.folder.root / "minio"
    damage_metadata(folder, HOT, key_of(line))

    assert not by_stow(proof, path)

    (folder / HOT / key_of(line)).rename(tmp_path / "damaged")
    assert by_stow(proof, path)
    assert object_of(proof, key_of(line)).endswith(good[-1000:])


@pytest.mark.parametrize(("first", "again"), [(by_dimse, by_stow), (by_stow, by_dimse)])
def test_an_instance_whose_object_is_gone_can_be_found_and_read_once_it_came_by_the_other_door(
    proof: Proof, tmp_path: Path, first: Callable[[Proof, Path], bool], again: Callable[[Proof, Path], bool]
) -> None:
    seed = int.from_bytes(hashlib.sha256(first.__name__.encode()).digest()[:3])
    path, neighbour = files(Volume(slices=2, size=64, seed=seed), tmp_path)
    line, sent = sendable(path, proof.peer.tenant).line, dcmread(path)
    assert first(proof, path)
    assert first(proof, neighbour)
    assert proof.wrong() == {}
    lost = object_of(proof, key_of(line))
    with store(address_of(proof.archive)) as client:
        client.remove_object(HOT, key_of(line))

    assert again(proof, path)

    # Its file meta is that of the other door, so its size, and where its frames begin, are others.
    assert len(object_of(proof, key_of(line))) != len(lost)
    assert proof.wrong() == {}
    viewer, at = (
        DICOMwebClient(url=f"{proof.archive.api_url}/dicomweb"),
        (line.study_uid, line.series_uid, line.sop_uid),
    )
    as_stored = (("application/octet-stream", "*"),)
    assert viewer.retrieve_instance(*at, media_types=(("application/dicom", "*"),)) == sent
    assert viewer.retrieve_instance_frames(*at, frame_numbers=[1], media_types=as_stored) == [sent.PixelData]
    metadata = whole_data_set(viewer, viewer.retrieve_instance_metadata(*at))
    assert (metadata.PatientName, metadata.PixelData) == (sent.PatientName, sent.PixelData)
    found = viewer.search_for_instances(line.study_uid)
    assert {one["00080018"]["Value"][0] for one in found} == {line.sop_uid, str(dcmread(neighbour).SOPInstanceUID)}


def test_nothing_is_wrong_after_all_damage_was_repaired(proof: Proof) -> None:
    assert proof.wrong() == {}
