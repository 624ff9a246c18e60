"""A start is refused with everything that stands in its way: what is not installed, and which ports are taken."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.errors import Failed
from deploy.install import layout
from deploy.install.components import flink_home
from deploy.install.layout import Layout
from deploy.local.checks import check_installed, check_jobs, check_start, missing
from deploy.local.data_folder import DataFolder
from deploy.local.stack import Stack
from schemas.settings.reading import SettingsError

EVERYTHING = ("Python environment", "Java", "MinIO", "Kafka", "PostgreSQL", "Flink")


@pytest.fixture
def here(tmp_path: Path) -> Layout:
    """A clone in which everything is installed: each thing is an empty file, but for the key of Flink's run folder."""
    made = Layout(tmp_path / "clone", tmp_path / "cache")
    (made.venv / "lib" / "python3.11" / "site-packages").mkdir(parents=True)
    locks = [made.jar_set(name) / "jgo.lock.toml" for name in ("kafka", "postgres", "flink", "ecj")]
    for path in (*locks, made.root / "requirements.lock"):
        write(path, path.parent.name)
    for path in (made.environment_stamp, made.java, made.minio, made.kafka_jars, made.postgres_bin / "postgres"):
        write(path, "")
    write(made.flink_home / "key", flink_home.key(made))
    return made


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_nothing_is_missing_when_everything_is_installed(here: Layout) -> None:
    assert missing(here) == ()


def test_all_that_is_missing_is_named_at_once(here: Layout, tmp_path: Path) -> None:
    here.java.unlink()
    here.minio.unlink()

    assert missing(here) == ("Java", "MinIO")
    for name in ("kafka", "postgres"):
        write(tmp_path / "empty" / "deploy" / "install" / "jars" / name / "jgo.lock.toml", "")
    assert missing(Layout(tmp_path / "empty", tmp_path / "nothing")) == EVERYTHING


@pytest.mark.parametrize("changed", ["requirements.lock", "deploy/install/jars/flink/jgo.lock.toml"])
def test_a_run_folder_of_flink_that_was_made_from_older_sources_is_missing(changed: str, here: Layout) -> None:
    (here.root / changed).write_text("newer")

    assert missing(here) == ("Flink's run folder, whose sources changed",)


def test_a_clone_without_its_servers_is_told_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLUORO_CACHE", "/nonexistent")

    with pytest.raises(Failed, match=r"^not installed: .*Kafka, PostgreSQL.*\. Run: make install$"):
        check_installed()


@contextmanager
def taken_ports(*names: str) -> Iterator[dict[str, int]]:
    """Listen on a port for each name."""
    with ExitStack() as listening:
        sockets = {name: listening.enter_context(socket.create_server(("127.0.0.1", 0))) for name in names}
        yield {name: one.getsockname()[1] for name, one in sockets.items()}


def obstacles(folder: DataFolder, ports: dict[str, int]) -> list[str]:
    """Return the lines about ports that stop a start."""
    try:
        check_start(Stack(layout.here(), folder, ports, {}, None))
    except Failed as failure:
        return [line for line in str(failure).splitlines() if line.startswith("port ")]
    return []


def test_every_taken_port_has_a_line_with_the_name_that_people_know(folder: DataFolder) -> None:
    with taken_ports("dimse", "web", "flink", "kafka") as ports:
        lines = obstacles(folder, ports)
    names = ("DIMSE", "web", "Flink UI", "kafka")

    assert [line.partition(":")[0] for line in lines] == [
        f"port {port} ({name}) is taken" for port, name in zip(ports.values(), names, strict=True)
    ]


def test_free_ports_stop_no_start(folder: DataFolder) -> None:
    with taken_ports("dimse", "web") as ports:
        pass

    assert obstacles(folder, ports) == []


def with_jobs(folder: DataFolder, **environ: str) -> Stack:
    return Stack(layout.here(), folder, {"flink": 1}, environ, None)


def test_jobs_with_more_subtasks_than_shards_are_refused_before_anything_starts(folder: DataFolder) -> None:
    with pytest.raises(SettingsError, match=r"^FLUORO_JOB_SHARDS: 1 is less than the parallelism 2 of job catalog"):
        check_jobs(with_jobs(folder, FLUORO_JOB_PARALLELISM="2"))


def test_jobs_whose_state_has_other_shards_are_refused_before_anything_starts(folder: DataFolder) -> None:
    stack = with_jobs(folder, FLUORO_JOB_SHARDS="4")
    write(stack.job.checkpoint_dir / "catalog" / "process-1" / "run" / "chk-1" / "_metadata", "x")

    with pytest.raises(Failed, match=r"^FLUORO_JOB_SHARDS: the state of job catalog has 1 shards, not 4"):
        check_jobs(stack)
    check_jobs(replace(stack, with_jobs=False))
    check_jobs(replace(stack, environ={}))
