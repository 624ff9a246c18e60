"""An archive on servers of one's own, started and given rights as docs/operations.md prints it, does what it should."""

import gc
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from pydicom import dcmread
from pynetdicom import AE

from deploy.errors import Failed
from deploy.local.running import wait_until
from operators.connectors.kafka.sending import RawRecord, RecordSender
from operators.connectors.postgres.connecting import connect
from operators.stream.dead_letter import rejected
from operators.stream.step import Record
from schemas.codec import encode
from schemas.settings.reading import load
from schemas.settings.servers import CatalogSettings
from schemas.topics import INSTANCE_QUARANTINED, RECORD_REJECTED, record_key
from tests.audit.ledger import Ledger
from tests.support.data.generate import Volume, files
from tests.support.installation import printed
from tests.support.installation.installation import PREFIX, Installation
from tests.support.senders.sender import Peer, send
from tests.support.senders.stow import Door, stow
from tests.support.servers.secured.kafka import without
from tests.support.worlds.catalog_histories import in_tenant
from tests.support.worlds.catalog_histories import quarantined as quarantined_event
from tests.support.worlds.reading import part10

SOON_S = 90.0
PATIENT = "4711"
LAST_CHARACTERS = 10_000
NOT_LEAKPROOF = "WARNING: functions are not LEAKPROOF"
# The columns of each query that the document prints, in their order there.
COLUMNS = [
    ["day", "studies", "instances", "size"],
    ["modality", "studies", "instances", "size"],
    ["study_date", "accession_number", "study_description", "modalities", "instances", "study_uid"],
    ["study_uid", "study_date", "modalities", "instances", "size"],
    ["study_uid", "instances", "settled"],
    ["reason", "calling_ae", "objects", "size", "first", "kept_until"],
]


@pytest.fixture(scope="module")
def archive(installed: Installation) -> Iterator[Installation]:
    """Run the jobs, the gateway and the web origin on the prepared servers."""
    with ExitStack() as processes:
        for process in ("deploy.flink.cluster", "gateway", "deploy.web"):
            processes.enter_context(installed.running(process))
        yield installed
    # pynetdicom's unclosed sockets are collected here, not in a test of another folder.
    gc.collect()


def found(archive: Installation, study_uid: str) -> int:
    """Return how many instances of a study are found."""
    asked = {"StudyInstanceUID": study_uid, "includefield": "NumberOfStudyRelatedInstances"}
    answer = httpx.get(f"{archive.api_url}/dicomweb/studies", params=asked, timeout=20).raise_for_status()
    return sum(study["00201208"]["Value"][0] for study in (answer.json() if answer.content else []))


def wait_found(archive: Installation, study_uid: str, instances: int) -> None:
    wait_until(lambda: found(archive, study_uid) == instances, SOON_S, f"study {study_uid} is not found")


def stowed(archive: Installation, file: bytes) -> int:
    """Store a file by STOW-RS; return the status of the answer."""
    headers = {"Content-Type": "application/dicom"}
    return httpx.post(f"{archive.api_url}/dicomweb/studies", content=file, headers=headers, timeout=60).status_code


def printed_by(archive: Installation, *command: str) -> str:
    """Run a command, which must succeed without a word on standard error; return what it prints."""
    done = archive.run("deploy.commands", *command)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def quarantined(archive: Installation) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed_by(archive, "quarantine", "list", "--json").splitlines()]


def test_servers_that_are_prepared_already_are_left_as_they_are(installed: Installation) -> None:
    again = installed.run("deploy.prepare")
    told = [line for line in again.stdout.splitlines() if not line.endswith((": is there", ": are there"))]

    assert again.returncode == 0
    assert told == [
        "role writer: has the password of the settings",
        "role reader: has the password of the settings",
        f"bucket {PREFIX}quarantine: its objects are deleted after 30 days",
    ]
    # The role of the document's example is no superuser.
    assert again.stderr.startswith(NOT_LEAKPROOF)
    assert len(again.stderr.splitlines()) == 1


def test_every_process_is_ready_on_servers_that_ask_for_tls_and_passwords(archive: Installation) -> None:
    gateway = httpx.get(f"http://127.0.0.1:{archive.ports['gateway-metrics']}/readyz", timeout=20)
    web = httpx.get(f"{archive.api_url}/readyz", timeout=20)

    assert gateway.json() == {"store": "ready", "broker": "ready"}
    assert web.json()["jobs"] == {"study": "running", "catalog": "running"}
    assert {state for state in web.json().values() if isinstance(state, str)} == {"ready"}


def test_what_both_doors_store_is_found_and_its_studies_are_announced(archive: Installation, tmp_path: Path) -> None:
    sent = files(Volume(studies=1, slices=3, size=16, seed=1), tmp_path)
    posted = files(Volume(studies=1, slices=3, size=16, seed=2), tmp_path)
    with Ledger(tmp_path / "sent.jsonl") as ledger:
        tally = send(sent, Peer(archive.ports["dimse"]), ledger, associations=1)
        statuses = stow(posted, Door(archive.api_url), ledger)
    studies = {path.parent.name for path in (*sent, *posted)}

    assert tally.complete
    assert set(statuses.values()) == {"0000"}
    for study in studies:
        wait_found(archive, study, 3)
    wait_until(lambda: studies <= settled(archive), SOON_S, "the studies are not announced")
    assert printed_by(archive, "studies", "hold", min(studies), "--why", "a test").startswith(
        "hold is stored and published"
    )
    returned = httpx.get(f"{archive.api_url}/dicomweb/studies/{min(studies)}", timeout=60).raise_for_status()
    assert returned.content.count(b"DICM") == 3


def settled(archive: Installation) -> set[str]:
    """Return the studies that are announced as settled."""
    lines = printed_by(archive, "topics", "read", "study-settled", "--json").splitlines()
    return {json.loads(line)["value"]["study_uid"] for line in lines}


def test_commands_list_show_and_discard_with_their_own_users(archive: Installation, tmp_path: Path) -> None:
    refused = part10(SOPInstanceUID="1.2.82.1.8").replace(b"1.2.82.1.8", b"1.2/82.1.8")
    assert stowed(archive, refused) == 409
    wait_until(lambda: len(quarantined(archive)) == 1, SOON_S, "nothing is in quarantine")
    (row,) = quarantined(archive)
    saved = tmp_path / "kept.dcm"
    shown = archive.run("deploy.commands", "quarantine", "show", row["data_hash"], "--save", str(saved))
    printed_by(archive, "quarantine", "discard", row["data_hash"], "--yes", "--why", "a test")

    assert shown.returncode == 0, shown.stderr
    assert saved.read_bytes() == refused
    wait_until(lambda: quarantined(archive) == [], SOON_S, "what was discarded is still listed")
    assert "No job has stopped." in printed_by(archive, "jobs", "list")
    assert "TESTSENDER" in printed_by(archive, "transfers", "--since", "1h")
    assert printed_by(archive, "conflicts", "list")
    assert archive.run("deploy.commands", "jobs", "reshard", "2").stderr.startswith("job catalog is RUNNING")


def test_rebuild_verification_and_replay_work_with_their_own_users(archive: Installation) -> None:
    study = "1.2.87"
    file = part10(StudyInstanceUID=study, SeriesInstanceUID=f"{study}.1", SOPInstanceUID=f"{study}.1.1")
    assert stowed(archive, file) == 200
    for process, arguments in {
        "pipelines.batch.rebuild": (),
        "pipelines.batch.verify": ("--study", study, "--repair", "--cpu-share", "1"),
    }.items():
        forget(archive, study)
        done = archive.run(process, *arguments, changes={"FLUORO_VERIFY_GRACE_S": "0"})
        assert done.returncode == 0, done.stderr
    wait_found(archive, study, 1)
    held = in_tenant(quarantined_event("replayed"), "replayed")
    record = Record(INSTANCE_QUARANTINED.name, 3, 0, 0, record_key(held), encode(held))
    letter = encode(rejected(record, "catalog", "unexpected-error", datetime.now(UTC)).event)
    RecordSender(archive.broker).send([RawRecord(RECORD_REJECTED.name, record.key, letter)])
    replayed = archive.run("pipelines.batch.replay", "--tenant", "replayed", "--send")

    assert (replayed.returncode, replayed.stdout) == (0, "1 of 1 records sent, 0 rejected again.\n"), replayed.stderr


def forget(archive: Installation, study: str) -> None:
    """Remove the row of a study's only instance once it is there, as a database that has lost it."""

    def is_removed() -> bool:
        with closing(
            connect(load(CatalogSettings, archive.settings("deploy.flink.cluster")), "test", "")
        ) as connection:
            removed = connection.execute("DELETE FROM instance WHERE study_uid = %s", (study,)).rowcount
            connection.commit()
            return removed == 1

    wait_until(is_removed, SOON_S, "the instance has no row")


def test_the_six_queries_answer_as_printed(archive: Installation) -> None:
    study = "1.2.83"
    uids: dict[str, Any] = {
        "StudyInstanceUID": study,
        "SeriesInstanceUID": f"{study}.1",
        "SOPInstanceUID": f"{study}.1.1",
    }
    file = part10(PatientID=PATIENT, **uids)
    assert stowed(archive, part10(SOPInstanceUID="1.2.84.1.8").replace(b"1.2.84.1.8", b"1.2/84.1.8")) == 409
    wait_until(lambda: bool(quarantined(archive)), SOON_S, "nothing is in quarantine")
    with open_transfer(archive, file):
        wait_found(archive, study, 1)
        answers = [answer(archive, query) for query in printed.queries()]

    assert [columns for columns, _ in answers] == COLUMNS
    assert all(rows for _, rows in answers)


@contextmanager
def open_transfer(archive: Installation, file: bytes) -> Iterator[None]:
    """Send an instance; its association is open until the end of the block, before which its study does not settle."""
    dataset = dcmread(BytesIO(file))
    entity = AE(ae_title="TESTSENDER")
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", archive.ports["dimse"], ae_title="FLUORO")
    try:
        assert association.send_c_store(dataset).Status == 0
        yield
    finally:
        association.release()


def answer(archive: Installation, query: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run a query as role reader, after the statement that the document prints; return the columns and the rows."""
    (setting,) = re.findall(r"^    fluoro=> (SET .+;)$", printed.section("Six queries"), re.MULTILINE)
    settings = load(CatalogSettings, archive.settings("deploy.web"))
    assert settings.user == "reader"
    with closing(connect(settings, "test", "")) as connection:
        connection.execute(setting)
        cursor = connection.execute(query)
        return [column.name for column in cursor.description or ()], cursor.fetchall()


def test_a_reader_without_a_tenant_sees_nothing(archive: Installation) -> None:
    with closing(connect(load(CatalogSettings, archive.settings("deploy.web")), "test", "")) as connection:
        assert connection.execute("SELECT count(*) FROM instance").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM instance")


@pytest.mark.parametrize(("topic", "operation", "study"), [("study-settled", "WRITE", 85), ("study-due", "READ", 86)])
def test_a_job_whose_right_is_taken_says_so_and_goes_on_once_it_is_back(
    archive: Installation, topic: str, operation: str, study: int
) -> None:
    log = archive.folder.log("deploy.flink.cluster")
    uids: dict[str, Any] = {"StudyInstanceUID": f"1.2.{study}", "SeriesInstanceUID": f"1.2.{study}.1"}
    cause = rf'"cause": "[^"]*TopicAuthorizationException: Not authorized to access topics: \[{topic}\]"'
    with without(archive.broker, "jobs", ("TOPIC", topic, operation)):
        assert stowed(archive, part10(SOPInstanceUID=f"1.2.{study}.1.1", **uids)) == 200
        wait_with_jobs(archive, lambda: bool(re.search(cause, log.read_text())), "no line names the topic")

    wait_with_jobs(archive, lambda: f"1.2.{study}" in settled(archive), "the job does not go on")
    assert not [secret for secret in archive.secrets if secret in log.read_text()]


def wait_with_jobs(archive: Installation, condition: Callable[[], bool], problem: str) -> None:
    """Wait until a condition holds; the error names what the jobs do and have logged last."""
    try:
        wait_until(condition, SOON_S, problem)
    except Failed as failure:
        logged = archive.folder.log("deploy.flink.cluster").read_text()[-LAST_CHARACTERS:]
        raise Failed(f"{failure}\n{printed_by(archive, 'jobs', 'list')}\n{logged}") from failure
