"""Archive the classes that the jobs' JVM loads: `python -m deploy.flink.class_archive FILE`.

All jobs run beside a broker of their own until their tasks run, while the Java runtime lists the classes that it loads.
No catalog is needed: its job connects with its first record.
"""

import asyncio
import os
import shlex
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from deploy.errors import Failed
from deploy.flink import jvm
from deploy.flink.folder import ClusterFolder
from deploy.flink.jvm import NotStarted
from deploy.flink.minicluster import MiniCluster
from deploy.flink.rest import Rest
from deploy.install import layout
from deploy.install.layout import Layout
from deploy.local.ports import free_row
from deploy.local.running import wait_until
from deploy.local.servers.class_archive import STARTED_WITHIN_S, own_broker, run_java
from operators.connectors.kafka.topics import prepare_topics
from operators.errors import Unavailable
from operators.stream.origin import Origin
from pipelines.jobs import JOBS
from pipelines.launch.start import NotSubmitted, submit_from
from schemas.settings.jobs import JobSettings
from schemas.settings.reading import load
from schemas.settings.servers import BrokerSettings


def archive(here: Layout, path: Path) -> None:
    """Write the archive; raises Failed when broker or jobs do not start, or a program of Java fails."""
    with tempfile.TemporaryDirectory(prefix="fluoro-classes-") as name:
        folder = Path(name)
        listed = folder / "classes"
        with own_broker(here, folder / "broker") as port:
            environ = environment(here, folder, port)
            run_jobs(folder, environ | {"JVM_ARGS": shlex.join(("-Xshare:off", f"-XX:DumpLoadedClassList={listed}"))})
        leave_out_plugins(listed)
        dump = ("-Xshare:dump", f"-XX:SharedClassListFile={listed}", f"-XX:SharedArchiveFile={path}")
        command = jvm.command(environ | {"JVM_ARGS": shlex.join(dump)})
        run_java(command, environ)


def leave_out_plugins(listed: Path) -> None:
    """Leave out the classes of other loaders than the class path's: Flink unpacks their jars anew at each start."""
    lines = listed.read_text(encoding="utf-8").splitlines(keepends=True)
    listed.write_text("".join(line for line in lines if " source: " not in line), encoding="utf-8")


def environment(here: Layout, folder: Path, broker_port: int) -> dict[str, str]:
    """Return the environment of the jobs, without any setting of the user."""
    environ = here.flink_environment() | {
        "PATH": os.environ.get("PATH", ""),
        "FLUORO_BROKER_BOOTSTRAP": f"127.0.0.1:{broker_port}",
        "FLUORO_JOB_REST_PORT": str(free_row((broker_port,))),
        "FLUORO_JOB_CHECKPOINT_DIR": str(folder / "checkpoints"),
    }
    return cluster_in(folder).environment(environ)


def cluster_in(folder: Path) -> ClusterFolder:
    """Return the cluster's folder."""
    return ClusterFolder(folder / "flink", folder / "logs")


def run_jobs(folder: Path, environ: Mapping[str, str]) -> None:
    """Run all jobs until every task runs. Raises Failed when they do not."""
    asyncio.run(prepare_topics(load(BrokerSettings, environ)))
    settings = load(JobSettings, environ)
    configuration = cluster_in(folder).configuration(settings, len(JOBS))
    cluster_in(folder).write(configuration, environ)
    # PyFlink looks for its folders there.
    os.environ.update(environ)
    machine = jvm.start(environ)
    try:
        cluster = MiniCluster(configuration, len(JOBS))
        submitted = [submit_from(cluster, job, environ, (), Origin()).job_id for job in JOBS]
        rest = Rest(settings.rest_port)
        wait_until(
            lambda: all(rest.job(job_id).is_running for job_id in submitted), STARTED_WITHIN_S, "the jobs do not run"
        )
        cluster.close()
    finally:
        # The list is complete once the runtime has ended.
        jvm.stop(machine)


def main(arguments: Iterable[str]) -> int:
    """Write the archive to the file that the argument names; return the exit status."""
    (path,) = arguments
    try:
        archive(layout.here(), Path(path).absolute())
    except (Failed, NotStarted, NotSubmitted, Unavailable, OSError) as failure:
        print(failure, file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    # Not sys.exit: py4j's finalizers would ask the JVM, which is gone, to release each object.
    os._exit(status)
