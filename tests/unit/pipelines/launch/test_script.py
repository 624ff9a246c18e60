"""A job that is started by a script is refused, or begins again, as on the local cluster."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from operators.connectors.memory.catalog import MemoryProgress
from pipelines.jobs import CATALOG, STUDY
from pipelines.launch import losses, resharding, script
from pipelines.launch.checkpoints import OtherState, folder_of
from pipelines.launch.losses import StateLost
from pipelines.launch.rows import Servers
from schemas.settings.jobs import JobSettings
from schemas.settings.reading import load
from schemas.topics import INSTANCE_STORED, STUDY_COMMAND
from tests.unit.pipelines.launch.test_checkpoints import write
from tests.unit.pipelines.launch.test_losses import Broker
from tests.unit.pipelines.launch.test_resharding import written
from tests.unit.pipelines.launch.test_start import Engine, gone_back

SERVERS = Servers(Broker(), MemoryProgress())
OTHER_BROKER = Servers(Broker(ids={INSTANCE_STORED.name: "another"}), MemoryProgress())


@pytest.fixture
def environ(tmp_path: Path) -> Mapping[str, str]:
    return {"FLUORO_JOB_CHECKPOINT_DIR": str(tmp_path)}


@pytest.fixture
def settings(tmp_path: Path) -> JobSettings:
    return JobSettings(checkpoint_dir=tmp_path)


def test_a_job_continues_from_its_newest_checkpoint(environ: Mapping[str, str], settings: JobSettings) -> None:
    newest, engine = write(folder_of(STUDY, settings), "a", 1, 100), Engine()
    script.check_state(STUDY, SERVERS, settings)

    script.submit(engine, STUDY, environ, None, SERVERS)
    assert engine.taken[0][2] == newest


def test_a_job_that_newly_reads_a_topic_continues_from_its_checkpoint(
    environ: Mapping[str, str], settings: JobSettings
) -> None:
    """An earlier release has noted no id of the topic, and the job's group has committed nothing in it."""
    before = [topic for topic in STUDY.topics if topic != STUDY_COMMAND.name]
    (settings.checkpoint_dir / losses.TOPIC_IDS).write_text(json.dumps(Broker().topic_ids(before)))
    read = dict.fromkeys([(topic, 0) for topic in before], 20)
    servers = Servers(Broker(offsets={STUDY.name: read}), MemoryProgress())
    newest, engine = write(folder_of(STUDY, settings), "a", 1, 100), Engine()
    with capture_logs() as logged:
        script.check_state(STUDY, servers, settings)
        script.submit(engine, STUDY, environ, None, servers)

    assert [(name, checkpoint) for name, _, checkpoint in engine.taken] == [(STUDY.name, newest)]
    assert [line["event"] for line in logged] == ["job_submitted"]
    assert losses.topic_ids(settings).keys() >= set(STUDY.topics)


def test_a_state_that_the_caller_names_is_left_to_the_engine(environ: Mapping[str, str], settings: JobSettings) -> None:
    write(folder_of(STUDY, settings), "a", 1, 100)
    engine = Engine()

    script.submit(engine, STUDY, environ, "file:///savepoint", SERVERS)
    assert engine.taken[0][2] is None


def test_a_job_is_refused_when_its_state_is_of_other_shards(settings: JobSettings, tmp_path: Path) -> None:
    write(folder_of(CATALOG, JobSettings(checkpoint_dir=tmp_path, shards=8)), "a", 1, 100)

    with pytest.raises(OtherState, match="8 shards, not 1"):
        script.check_state(CATALOG, SERVERS, settings)


def test_a_catalog_of_other_shards_is_refused_without_its_checkpoints_too(settings: JobSettings) -> None:
    with pytest.raises(OtherState, match=r"written with 1 shards, not 4: set 1; or, .*jobs reshard 4"):
        script.check_state(CATALOG, Servers(Broker(), written()), settings.with_shards(4))
    script.check_state(CATALOG, Servers(Broker(), written()), settings)


def test_a_catalog_that_was_given_other_shards_begins_at_its_rows(
    environ: Mapping[str, str], settings: JobSettings
) -> None:
    write(folder_of(CATALOG, settings), "a", 1, 100)
    servers, engine = Servers(Broker(), written()), Engine()
    resharding.reshard(4, settings, servers)
    write(folder_of(CATALOG, settings), "b", 1, 100)
    script.check_state(CATALOG, servers, settings.with_shards(4))
    script.submit(engine, CATALOG, {**environ, "FLUORO_JOB_SHARDS": "4"}, None, servers)

    name, (origin, *_), checkpoint = engine.taken[0]
    assert (name, checkpoint, origin.announced) == ("catalog", None, dict.fromkeys(range(4), 0))


def test_the_parallelism_that_flink_was_told_counts() -> None:
    environ = {"FLUORO_JOB_PARALLELISM": "2"}

    assert load(JobSettings, script.with_parallelism(environ, "3")).parallelism == 3
    assert load(JobSettings, script.with_parallelism(environ, None)).parallelism == 2


def test_a_job_at_another_broker_begins_again(environ: Mapping[str, str], settings: JobSettings) -> None:
    write(folder_of(STUDY, settings), "a", 1, 100)
    script.check_state(STUDY, SERVERS, settings)
    script.check_state(STUDY, OTHER_BROKER, settings)
    engine = Engine()

    script.submit(engine, STUDY, environ, None, SERVERS)
    assert engine.taken[0][2] is None


def test_a_named_state_is_refused_at_another_broker(environ: Mapping[str, str], settings: JobSettings) -> None:
    script.check_state(STUDY, SERVERS, settings)
    script.check_state(STUDY, OTHER_BROKER, settings)
    engine = Engine()

    with pytest.raises(StateLost, match="without -s"):
        script.submit(engine, STUDY, environ, "file:///savepoint", SERVERS)
    assert engine.taken == []


def test_a_named_state_is_refused_when_the_catalogs_database_went_back(environ: Mapping[str, str]) -> None:
    engine = Engine()

    with pytest.raises(StateLost, match="earlier state of itself"):
        script.submit(engine, CATALOG, environ, "file:///savepoint", Servers(Broker(), gone_back()))
    assert engine.taken == []
