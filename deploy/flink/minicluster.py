"""Flink's MiniCluster: a whole cluster in one JVM. It is internal to Flink, so only this module uses it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JError, Py4JJavaError
from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway

from pipelines.engines.flink import causes, configuration, flink_configuration
from pipelines.jobs import Job
from pipelines.launch.start import NotSubmitted
from schemas.settings.jobs import JobSettings


class MiniCluster:
    """A running cluster that takes jobs, until it is closed."""

    def __init__(self, settings: Mapping[str, str], slots: int) -> None:
        """Start the cluster with its plugins: file systems, metric reporters."""
        configured: Configuration = flink_configuration(dict(settings))
        self._port = int(settings["rest.port"])
        jvm, conf = get_gateway().jvm, configured._j_configuration  # noqa: SLF001 - PyFlink gives no other way to Java
        plugins = jvm.org.apache.flink.core.plugin.PluginUtils.createPluginManagerFromRootFolder(conf)
        jvm.org.apache.flink.core.fs.FileSystem.initialize(conf, plugins)
        mini = jvm.org.apache.flink.runtime.minicluster
        builder = getattr(mini, "MiniClusterConfiguration$Builder")()
        builder.setConfiguration(conf).setPluginManager(plugins)
        builder.setNumTaskManagers(1).setNumSlotsPerTaskManager(slots)
        self._mini = mini.MiniCluster(builder.build())
        self._mini.start()

    def submit(self, job: Job, settings: JobSettings, sections: tuple[Any, ...], checkpoint: Path | None) -> str:
        """Submit a job, built in an environment of its own, that goes on from a checkpoint; return its id.

        Raises NotSubmitted, for example when the metadata of the checkpoint cannot be read, and OSError.
        """
        with _jvm_errors():
            env = self._environment(flink_configuration(configuration(job, settings, checkpoint)))
            job.build(env, *sections)
            try:
                return str(env.execute_async(job.name).get_job_id())
            except Py4JJavaError as error:
                raise NotSubmitted(causes(error.java_exception)) from None

    def cancel(self, job_id: str) -> None:
        """Cancel a job; its checkpoints stay. Raises OSError."""
        with _jvm_errors():
            j_id = get_gateway().jvm.org.apache.flink.api.common.JobID.fromHexString(job_id)
            self._mini.cancelJob(j_id).get()

    def close(self) -> None:
        """End all jobs and the cluster; checkpoints stay. Raises OSError."""
        with _jvm_errors():
            self._mini.close()

    def _environment(self, conf: Configuration) -> StreamExecutionEnvironment:
        """Return an environment that submits to this cluster; a configuration alone would start another cluster."""
        gateway = get_gateway()
        no_jars = gateway.new_array(gateway.jvm.String, 0)
        no_paths = gateway.new_array(gateway.jvm.java.net.URL, 0)
        remote = gateway.jvm.org.apache.flink.streaming.api.environment.RemoteStreamEnvironment
        j_conf = conf._j_configuration  # noqa: SLF001
        return StreamExecutionEnvironment(remote("127.0.0.1", self._port, j_conf, no_jars, no_paths, None))


@contextmanager
def _jvm_errors() -> Iterator[None]:
    """Raise OSError when the JVM ends during the block, or an error in it is not expected; its message may quote data."""
    try:
        yield
    except Py4JError as error:
        raise ConnectionError(f"the JVM of the jobs failed: {type(error).__name__}") from None
