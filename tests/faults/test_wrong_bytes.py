"""An object with a byte that was flipped is never served as good, is counted, and is replaced by what is sent again."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.running import RunningStack, wait_until
from schemas.telemetry import WEB
from tests.audit.collect.object_store import store
from tests.audit.ledger import Line
from tests.audit.snapshot import key_of
from tests.support.data.generate import Volume, files
from tests.support.faults.matrix import Healing
from tests.support.machine.damaged_disk import damage
from tests.support.machine.running_stack import address_of, metrics_of
from tests.support.proof import Proof
from tests.support.senders.files import sendable

BUCKET = "fluoro-hot"
PATIENT_S = 30.0


def on_the_disk(stack: RunningStack, key: str) -> None:
    """Flip a byte in the file that the store keeps the object in: its own check finds that."""
    damage(stack.folder.root / "minio", BUCKET, key, "altered")


def in_the_store(stack: RunningStack, key: str) -> None:
    """Put other bytes in place of the object, with its envelope: to the store they are good."""
    with store(address_of(stack)) as client:
        answer = client.get_object(BUCKET, key)
        data, headers = bytearray(answer.data), answer.headers
        answer.release_conn()
        data[-100] ^= 1
        envelope: dict[str, Any] = {
            name[11:]: text for name, text in headers.items() if name.lower().startswith("x-amz-meta-")
        }
        client.put_object(BUCKET, key, BytesIO(data), len(data), metadata=envelope)


FLIPS: Mapping[str, Callable[[RunningStack, str], None]] = {
    "on the store's disk": on_the_disk,
    "through the store": in_the_store,
}


def is_served(proof: Proof, line: Line, path: str) -> bool:
    """True if a read below an instance's study is answered with success, to its last byte."""
    url = f"{proof.archive.api_url}/dicomweb/studies/{line.study_uid}{path}"
    with suppress(httpx.RemoteProtocolError):
        answer = httpx.get(url, headers={"Accept": "multipart/related; type=application/dicom; transfer-syntax=*"})
        return answer.status_code == httpx.codes.OK
    return False


def below(line: Line) -> str:
    """Return the path of an instance below that of its study."""
    return f"/series/{line.series_uid}/instances/{line.sop_uid}"


def counted(proof: Proof) -> float:
    """Return how many damaged objects the web origin has met."""
    (url,) = (url for kind, url in metrics_of(proof.archive) if kind == WEB)
    lines = httpx.get(url, timeout=PATIENT_S).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("fluoro_api_damaged_total"))


@pytest.mark.fault("F9", "a byte is flipped {where}")
@pytest.mark.parametrize("where", FLIPS)
def test_bytes_that_were_not_sent_are_never_served_as_good(
    where: str, proof: Proof, healing: Healing, tmp_path: Path
) -> None:
    good, bad = paths = files(Volume(slices=2, size=64, seed=990 + list(FLIPS).index(where)), tmp_path)
    assert proof.send(paths).complete
    lines = [sendable(path, proof.peer.tenant).line for path in (good, bad)]
    wait_until(lambda: all(is_served(proof, one, below(one)) for one in lines), PATIENT_S, "it cannot be read")
    before = counted(proof)
    FLIPS[where](proof.archive, key_of(lines[1]))

    served = [is_served(proof, lines[0], below(lines[0])), is_served(proof, lines[1], below(lines[1]))]
    served += [is_served(proof, lines[1], one) for one in (f"/series/{lines[1].series_uid}", "")]
    met = counted(proof) - before
    with healing.timed():
        assert proof.send([bad]).complete
    healed = is_served(proof, lines[1], below(lines[1]))

    assert served == [True, False, False, False]
    assert met >= 1
    assert healed
    assert healing.audited(proof.wrong()) == {}
