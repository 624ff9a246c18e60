"""A job that has stopped for good is found by its file, until an operator, or another release, lets it go on."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.flink import stopped
from deploy.flink.stopped import StoppedJob, stopped_jobs
from operators.stream.step import Stop
from schemas import codec
from schemas.settings.jobs import JobSettings

SINCE = datetime(2026, 3, 1, 12, tzinfo=UTC)
REJECTED = StoppedJob("catalog", Stop("too-many-rejected", "1000 records in a row: at offsets x/1 0-999"), SINCE)
NEWER = StoppedJob("study", Stop("unknown-schema", "x/1 at offset 7: no schema"), SINCE)


@pytest.fixture
def settings(tmp_path: Path) -> JobSettings:
    return JobSettings(checkpoint_dir=tmp_path / "checkpoints")


def test_no_job_has_stopped_before_any_did(settings: JobSettings) -> None:
    assert stopped_jobs(settings) == {}
    assert not stopped.resume("catalog", settings)


def test_a_stopped_job_is_found_until_it_is_resumed(settings: JobSettings) -> None:
    stopped.write(REJECTED, settings)
    stopped.write(NEWER, settings)

    assert stopped_jobs(settings) == {"study": NEWER, "catalog": REJECTED}
    assert stopped.resume("catalog", settings)
    assert stopped_jobs(settings) == {"study": NEWER}


@pytest.mark.parametrize(
    "written",
    [b"", b"{", b"[]", b"\xff", b'{"stop": 7}', b'{"stop": "no reason"}', b'{"stop": "a: b", "since": "now"}'],
)
def test_a_job_whose_file_is_damaged_stays_stopped_until_it_is_resumed(settings: JobSettings, written: bytes) -> None:
    stopped.write(REJECTED, settings)
    path = settings.checkpoint_dir / "catalog.stopped"
    path.write_bytes(written)

    found = stopped_jobs(settings)["catalog"]
    assert (found.stop.reason, str(path) in found.stop.why) == ("unknown", True)
    assert "jobs resume catalog" in found.advice
    assert stopped.resume("catalog", settings)


def test_a_start_tries_again_only_what_another_release_may_mend(settings: JobSettings) -> None:
    stopped.write(REJECTED, settings)
    stopped.write(NEWER, settings)
    stopped.resume_at_start(settings)

    assert stopped_jobs(settings) == {"catalog": REJECTED}


def test_a_job_goes_on_as_soon_as_the_schema_that_it_lacked_is_there(settings: JobSettings) -> None:
    known, unknown = codec.versions()[0].fingerprint.hex(), bytes(8).hex()
    for job, fingerprint in (("study", known), ("catalog", unknown)):
        stop = Stop("unknown-schema", f"x/1 at offset 7: {codec.NO_SCHEMA.format(fingerprint)}")
        stopped.write(StoppedJob(job, stop, SINCE), settings)

    assert stopped.resume_at_schema(settings) == ["study"]
    assert stopped.resume_at_schema(settings) == []
    assert list(stopped_jobs(settings)) == ["catalog"]


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("too-many-rejected", "jobs resume catalog"),
        ("too-many-rejected", "record-rejected"),
        ("unknown-schema", "upgrade the jobs"),
        ("unknown-schema", "schemas/avro"),
        ("unknown-state", "start the release"),
        ("another", "jobs resume catalog"),
    ],
)
def test_every_reason_has_advice(reason: str, says: str) -> None:
    assert says in StoppedJob("catalog", Stop(reason, ""), SINCE).advice
