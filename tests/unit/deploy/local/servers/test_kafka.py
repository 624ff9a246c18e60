"""The broker's storage is formatted with an id that the storage tool accepts, and the broker starts from archived classes."""

import base64
from dataclasses import replace
from pathlib import Path

from deploy.install import layout
from deploy.local.servers.kafka import archived_classes, new_cluster_id, write_settings
from pipelines.jobs import JOBS

HERE = layout.here({"FLUORO_CACHE": "/nonexistent"})


def test_no_id_looks_like_an_option() -> None:
    ids = [new_cluster_id() for _ in range(500)]

    assert not any(cluster_id.startswith("-") for cluster_id in ids)
    assert {len(base64.urlsafe_b64decode(f"{cluster_id}==")) for cluster_id in ids} == {16}


def test_the_settings_name_the_ports_and_the_folder_of_the_data(tmp_path: Path) -> None:
    written = write_settings(tmp_path / "properties", tmp_path / "data", 4001, 4002).read_text().splitlines()

    assert "listeners=BROKER://127.0.0.1:4001,CONTROLLER://127.0.0.1:4002" in written
    assert f"log.dirs={tmp_path / 'data'}" in written


def test_the_broker_knows_what_jobs_have_read_for_longer_than_it_keeps_the_records(tmp_path: Path) -> None:
    written = write_settings(tmp_path / "properties", tmp_path / "data", 4001, 4002).read_text().splitlines()
    (minutes,) = (line.partition("=")[2] for line in written if line.startswith("offsets.retention.minutes="))

    assert int(minutes) * 60_000 > 2 * max(topic.retention_ms or 0 for job in JOBS for topic in job.reads)


def test_a_broker_starts_without_an_archive_and_uses_one_that_is_there(tmp_path: Path) -> None:
    here = replace(HERE, root=tmp_path)
    without = archived_classes(here)
    here.kafka_classes.parent.mkdir(parents=True)
    here.kafka_classes.touch()

    assert without == ()
    assert archived_classes(here) == (f"-XX:SharedArchiveFile={here.kafka_classes}",)
