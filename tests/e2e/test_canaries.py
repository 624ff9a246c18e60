"""No patient's name is in a log, a metric, a key, a file name, or the answer to a malformed request."""

import base64
import hashlib
import hmac
import http.client
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from schemas.topics import TOPICS
from tests.audit.collect.object_store import BUCKETS, QUARANTINE, store
from tests.audit.collect.topics import Topics
from tests.audit.ledger import Line
from tests.audit.part10 import read_meta
from tests.conftest import FACTS_KEY
from tests.support.data import canary
from tests.support.data.canary import AE_TITLE, TOKEN, HttpRequest, has_canary
from tests.support.data.generate import CANARY
from tests.support.machine.running_stack import address_of
from tests.support.proof import Proof
from tests.support.senders.files import data_hash
from tests.support.senders.raw import raw, send_raw
from tests.support.senders.scu import associated
from tests.support.senders.sender import Peer
from tests.support.senders.stow import Door, stow

pytestmark = pytest.mark.filterwarnings("ignore")
# Fields in which a canary may be, in topics that anybody may read: AE titles name machines.
AE_FIELDS = {"calling_ae", "called_ae"}
RESTRICTED = {topic.name for topic in TOPICS if topic.restricted}
# Bytes that are no data set.
NONSENSE = TOKEN.encode() * 100


@dataclass(frozen=True)
class ErrorAnswers:
    """The answers in which no patient's name may be."""

    bodies: list[bytes]


@pytest.fixture(scope="module")
def error_answers(proof: Proof, tmp_path_factory: pytest.TempPathFactory) -> ErrorAnswers:
    """Send canaries in every way that may make the archive repeat them, and return its error answers."""
    folder = tmp_path_factory.mktemp("canaries")
    good = written(folder / "good", [canary.file_of(one) for one in canary.slices()])
    wrong = written(folder / "wrong", list(canary.malformed().values()))
    again = written(
        folder / "again", [canary.other_pixels(canary.slices()[0]), canary.other_patient(canary.slices()[1])]
    )
    door = Door(proof.archive.api_url)
    assert set(stow(good, door, proof.ledger).values()) == {"0000"}
    assert set(stow(again, door, proof.ledger).values()) <= {"0000", "B007"}
    assert set(stow(wrong, door, proof.ledger).values()) == {"C000"}
    sendable = [one for path in [*good, *wrong] if (one := raw(path, "local"))]
    send_raw(sendable, Peer(proof.peer.port, patience_s=5), proof.ledger)
    proof.ledger.plan([Line("planned", "local", "", "", "", data_hash(ExplicitVRLittleEndian, NONSENSE))])
    bad_associations(proof.peer, canary.file_of(canary.slices()[0]))
    bodies = [answered(proof.archive.api_url, request) for request in canary.requests(canary.slices()[2])]
    assert proof.wrong() == {}
    return ErrorAnswers([body for body in bodies if body])


def written(folder: Path, every: list[bytes]) -> list[Path]:
    folder.mkdir()
    for number, data in enumerate(every):
        (folder / f"{number}.dcm").write_bytes(data)
    return sorted(folder.iterdir())


def bad_associations(peer: Peer, good: bytes) -> None:
    """Send malformed associations and PDUs with canaries to the DIMSE door."""
    meta = read_meta(good)
    for title in (AE_TITLE, TOKEN.lower()[:16]):
        with suppress(OSError), associated(replace(peer, ae_title=title), meta.sop_class, meta.transfer_syntax):
            pass
    one = Named(meta.sop_class, TOKEN, (good[meta.length :],))
    for named in (one, replace(one, sop_class=TOKEN), replace(one, parts=(NONSENSE,))):
        with suppress(OSError), associated(peer, meta.sop_class, meta.transfer_syntax) as association:
            association.store(named)
    request = struct.pack(">BxIH", 1, 68 + len(TOKEN) * 4, 1) + b"\0\0" + AE_TITLE.encode() * 2 + bytes(32)
    for data in (
        TOKEN.encode() * 10,
        request + TOKEN.encode() * 4,
        b"\4\0" + struct.pack(">I", 64) + TOKEN.encode() * 4,
    ):
        with suppress(OSError), socket.create_connection((peer.host, peer.port), timeout=5) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass


@dataclass(frozen=True)
class Named:
    """A data set to send under malformed UIDs."""

    sop_class: str
    sop_uid: str
    parts: tuple[bytes, ...]


def answered(origin: str, request: HttpRequest) -> bytes:
    """Return what an error says, headers too; nothing for a good answer, which may name whom it likes, or for none."""
    connection = http.client.HTTPConnection(origin.split("//")[1], timeout=30)
    try:
        connection.request(request.method, request.path, request.body or None, dict(request.headers))
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return b""
    finally:
        connection.close()
    return b"" if response.status < 400 and response.status != 202 else f"{response.msg}".encode() + body


def test_a_canary_is_found_however_it_is_written() -> None:
    percent = "".join(f"%{ord(one):02X}" for one in TOKEN)
    in_base64 = [base64.b64encode(f"{before}{TOKEN}^JANE".encode()).decode() for before in ("", "D", "DR")]
    for word in (TOKEN, TOKEN.swapcase(), percent, *in_base64, AE_TITLE, canary.BIRTH_DATE):
        assert has_canary(f'event=x value="{word}"'.encode()), word
    assert not has_canary(
        b"QZCANARY 2.25." + canary.BIRTH_DATE.encode() + b"7 sha=" + canary.STUDY_DATE.encode() + b"ab"
    )


def test_no_error_answer_contains_a_canary(error_answers: ErrorAnswers) -> None:
    assert len(error_answers.bodies) > 50
    assert [body[:300] for body in error_answers.bodies if has_canary(body)] == []


def test_no_log_and_no_file_name_contains_a_canary(proof: Proof, error_answers: ErrorAnswers) -> None:
    assert error_answers
    assert (proof.archive.logs / "gateway.log").stat().st_size
    assert canary.files_with_canaries(proof.archive.folder.root) == []
    assert not has_canary((proof.archive.folder.root.parent / "up.log").read_bytes())


def test_no_metric_and_no_page_of_flink_contains_a_canary(proof: Proof, error_answers: ErrorAnswers) -> None:
    assert error_answers
    place = address_of(proof.archive)
    urls = [f"{place.api}/metrics", *place.metrics, *pages(proof.archive.flink_url)]

    said = {url: httpx.get(url, timeout=30).content for url in urls}

    assert [url for url, body in said.items() if has_canary(url.encode() + body)] == []


def pages(flink: str) -> Iterator[str]:
    """Yield the pages on which Flink shows its jobs."""
    yield from (f"{flink}/{page}" for page in ("overview", "jobs/overview", "jobmanager/config", "taskmanagers"))
    for job in httpx.get(f"{flink}/jobs", timeout=30).json()["jobs"]:
        yield from (
            f"{flink}/jobs/{job['id']}{page}" for page in ("", "/exceptions", "/config", "/plan", "/checkpoints")
        )


def test_no_record_key_and_no_unrestricted_record_contains_a_canary(proof: Proof, error_answers: ErrorAnswers) -> None:
    assert error_answers
    with Topics(address_of(proof.archive).setting("FLUORO_BROKER_BOOTSTRAP")) as topics:
        topics.read_on()

    assert not has_canary(b"\n".join(topics.keys))
    assert [
        topic for topic, records in topics.records.items() for one in records if has_canary(unrestricted(topic, one))
    ] == []


def test_the_topic_for_analysts_holds_nothing_of_the_patient(proof: Proof, error_answers: ErrorAnswers) -> None:
    assert error_answers
    with Topics(address_of(proof.archive).setting("FLUORO_BROKER_BOOTSTRAP")) as topics:
        topics.read_on()
    study_uid = canary.slices()[0].study_uid
    pseudonym = hmac.new(FACTS_KEY.encode(), f"local/{study_uid}".encode(), hashlib.sha256).hexdigest()
    facts = topics.records["study-facts"]
    said = str(facts).encode()
    uids = {uid for one in canary.slices() for uid in (one.study_uid, one.series_uid, one.sop_uid)}

    assert pseudonym in {one["pseudonym"] for one in facts}
    assert pseudonym.encode() in topics.keys
    assert {part["body_part"] for one in facts if one["pseudonym"] == pseudonym for part in one["series"]} == {"other"}
    assert not has_canary(said)
    assert not [word for word in (CANARY, *uids) if word.encode() in said]


def unrestricted(topic: str, record: dict[str, Any]) -> bytes:
    """Return what anybody may read of a record: in a restricted topic only the reason of a rejection."""
    if topic in RESTRICTED:
        return str([record.get(name) for name in ("reason", "operator")]).encode()
    return str({name: value for name, value in record.items() if name not in AE_FIELDS}).encode()


def test_no_object_key_and_no_envelope_contains_a_canary(proof: Proof, error_answers: ErrorAnswers) -> None:
    assert error_answers
    found = []
    with store(address_of(proof.archive)) as client:
        for bucket in (*BUCKETS, QUARANTINE, "fluoro-derived"):
            for one in client.list_objects(bucket, recursive=True) if client.bucket_exists(bucket) else ():
                envelope = client.stat_object(bucket, str(one.object_name)).metadata or {}
                without_ae_titles = {
                    name: value for name, value in envelope.items() if not re.search("-ae$", name, re.IGNORECASE)
                }
                if has_canary(f"{one.object_name} {without_ae_titles}".encode()):
                    found.append(one.object_name)

    assert found == []
