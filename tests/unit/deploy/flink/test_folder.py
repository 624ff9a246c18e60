"""The folder of a cluster is below the data folder, and holds its configuration."""

from pathlib import Path

from deploy.flink.folder import ClusterFolder, choose
from schemas.settings.jobs import JobSettings


def test_the_folder_is_below_the_data_folder(tmp_path: Path) -> None:
    assert choose({"FLUORO_DATA": str(tmp_path)}) == ClusterFolder(tmp_path / "flink", tmp_path / "logs")


def test_the_configuration_has_the_packaged_java_options_and_no_old_temporary_file(tmp_path: Path) -> None:
    conf = tmp_path / "home" / "conf"
    conf.mkdir(parents=True)
    (conf / "config.yaml").write_text("env: {java: {opts: {all: --add-opens=x}}}\n")
    folder = ClusterFolder(tmp_path / "flink", tmp_path / "logs")
    folder.temporary.mkdir(parents=True)
    (folder.temporary / "left").touch()

    folder.write(folder.configuration(JobSettings(rest_port=1234), slots=3), {"FLINK_HOME": str(tmp_path / "home")})
    written = (folder.conf / "config.yaml").read_text()
    assert "env.java.opts.all: --add-opens=x" in written
    assert "rest.port: '1234'" in written
    assert "jobmanager.bind-host: 127.0.0.1" in written
    assert "taskmanager.numberOfTaskSlots: '3'" in written
    # Flink ignores it in a job's own configuration, and keeps one.
    assert "execution.checkpointing.num-retained: '2'" in written
    assert list(folder.temporary.iterdir()) == []


def test_flink_serves_its_metrics_at_the_port_after_the_launchers_or_not_at_all(tmp_path: Path) -> None:
    folder = ClusterFolder(tmp_path / "flink", tmp_path / "logs")
    at_port, without = (folder.configuration(JobSettings(metrics_port=port), slots=2) for port in (9000, 0))

    assert at_port["metrics.reporter.prom.port"] == "9001"
    assert not [name for name in without if name.startswith("metrics.")]
