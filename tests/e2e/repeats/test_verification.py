"""What a store has changed without noticing is found, not served, and good again once sent again; lost rows come back."""

import io
import json
import time
from pathlib import Path
from typing import Any

import httpx
from pydicom import dcmread

from deploy.local.running import wait_until
from operators.connectors.postgres.connecting import connect
from pipelines.batch.verify.command import main
from tests.audit.collect.object_store import store
from tests.audit.snapshot import key_of
from tests.support.data.generate import Volume, files
from tests.support.machine.running_stack import address_of
from tests.support.proof import Proof
from tests.support.senders.files import Sendable, sendable

HOT = "fluoro-hot"
SOON_S = 30.0
OCTETS = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}


def sent(proof: Proof, folder: Path, slices: int, seed: int) -> list[Sendable]:
    """Send a study; return its files with their lines in the ledger, once all are found."""
    paths = list(files(Volume(slices=slices, size=64, seed=seed), folder))
    assert proof.send(paths).complete
    made = [sendable(path, proof.peer.tenant) for path in paths]
    wait_until(lambda: len(found(proof, made[0])) == slices, SOON_S, "the study is not found")
    return made


def found(proof: Proof, one: Sendable) -> list[Any]:
    address = f"{proof.archive.api_url}/dicomweb/studies/{one.line.study_uid}/instances"
    answer = httpx.get(address, trust_env=False)
    return list(answer.json()) if answer.status_code == httpx.codes.OK else []


def frame(proof: Proof, one: Sendable) -> httpx.Response:
    line = one.line
    uids = f"studies/{line.study_uid}/series/{line.series_uid}/instances/{line.sop_uid}"
    return httpx.get(f"{proof.archive.api_url}/dicomweb/{uids}/frames/1", headers=OCTETS, trust_env=False)


def verified(proof: Proof, one: Sendable, *arguments: str) -> tuple[int, list[Any]]:
    """Verify a study without pauses; return the exit status and what was found."""
    environment = {**proof.archive.plan.settings("writer"), "FLUORO_VERIFY_GRACE_S": "0"}
    run = f"v{time.monotonic_ns()}"
    status = main(("--study", one.line.study_uid, "--run", run, "--cpu-share", "1", *arguments), environment)
    report = proof.archive.plan.batch.runs_dir / run / "report.json"
    return status, json.loads(report.read_text())["findings"]


def alter(proof: Proof, one: Sendable) -> None:
    """Change the last byte of an object in the store, which takes it as it is."""
    key = key_of(one.line)
    with store(address_of(proof.archive)) as client:
        answer = client.get_object(HOT, key)
        data, headers = bytearray(answer.data), answer.headers
        answer.release_conn()
        data[-1] ^= 1
        envelope: dict[str, Any] = {
            name[11:]: text for name, text in headers.items() if name.lower().startswith("x-amz-meta-")
        }
        client.put_object(HOT, key, io.BytesIO(data), len(data), metadata=envelope)


def test_bytes_that_a_store_gives_wrong_are_not_served_once_they_are_found_until_they_are_sent_again(
    proof: Proof, tmp_path: Path
) -> None:
    one, _ = sent(proof, tmp_path, slices=2, seed=1401)
    pixels = dcmread(one.path).PixelData
    assert pixels in frame(proof, one).content
    alter(proof, one)
    altered_at = time.time()
    # The store does not notice it.
    assert frame(proof, one).is_success

    status, findings = verified(proof, one)
    assert (status, findings) == (3, [{"kind": "hash", "tier": "hot", "key": key_of(one.line)}])
    refused = frame(proof, one)
    assert (refused.status_code, refused.json()["reason"]) == (500, "object-marked")

    # The store dates objects to the second.
    wait_until(lambda: time.time() >= int(altered_at) + 2, SOON_S, "the clock stands still")
    assert proof.send([one.path]).complete
    assert pixels in frame(proof, one).content
    assert verified(proof, one) == (0, [])


def test_an_instance_whose_row_is_lost_is_found_and_shown_again(proof: Proof, tmp_path: Path) -> None:
    one, _ = sent(proof, tmp_path, slices=2, seed=1402)
    with connect(proof.archive.catalog("writer"), "test", "") as connection:
        lost = "DELETE FROM instance WHERE study_uid = %s AND sop_uid = %s"
        assert connection.execute(lost, (one.line.study_uid, one.line.sop_uid)).rowcount == 1
    unindexed = {"kind": "unindexed", "tier": "hot", "key": key_of(one.line)}
    assert verified(proof, one) == (3, [unindexed])

    assert verified(proof, one, "--repair") == (0, [unindexed | {"repair": "published"}])
    wait_until(lambda: len(found(proof, one)) == 2, SOON_S, "the instance is not shown again")
    assert verified(proof, one) == (0, [])
    assert proof.wrong() == {}
