"""Archive the classes that a broker loads: `python -m deploy.local.servers.class_archive FILE`.

A broker runs on a folder of its own until it listens, while the Java runtime lists the classes that it loads.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.errors import Failed
from deploy.install import layout
from deploy.install.layout import Layout
from deploy.local.ports import free_row
from deploy.local.running import wait_until
from deploy.local.servers import health, kafka
from deploy.local.supervision.programs import tied_to_this_process

STARTED_WITHIN_S = 120.0
STOPPED_WITHIN_S = 30.0


def archive(here: Layout, path: Path) -> None:
    """Write the archive; raises Failed when the broker does not start, or a program of Java fails."""
    with tempfile.TemporaryDirectory(prefix="fluoro-classes-") as folder:
        listed = Path(folder) / "classes"
        list_classes(here, Path(folder), listed)
        run(here, f"-XX:SharedClassListFile={listed}", "-Xshare:dump", f"-XX:SharedArchiveFile={path}")


def list_classes(here: Layout, folder: Path, listed: Path) -> None:
    """Run a broker until it listens, and list the classes that it has loaded."""
    with own_broker(here, folder / "broker", f"-XX:DumpLoadedClassList={listed}"):
        pass


@contextmanager
def own_broker(here: Layout, folder: Path, *options: str) -> Iterator[int]:
    """Run a broker in a new folder, with these options of Java; yield its port once it listens. Raises Failed."""
    folder.mkdir()
    port = free_row(())
    properties = kafka.write_settings(folder / "properties", folder / "logs", port, free_row((port,)))
    format_ = ("format", "-t", kafka.new_cluster_id(), "-c", properties, "--standalone")
    run(here, kafka.STORAGE_TOOL_CLASS, *map(str, format_))
    command = kafka.java(here, folder, *options, kafka.BROKER_CLASS, properties)
    broker = subprocess.Popen(tied_to_this_process(command, None), env=environment(here))
    check, problem = health.listens(port), "the broker does not listen"
    try:
        wait_until(lambda: broker.poll() is not None or check() is None, STARTED_WITHIN_S, problem)
        if broker.poll() is not None:
            raise Failed(f"the broker ended with status {broker.returncode}")
        yield port
        # A list of classes is complete once the runtime has ended.
        broker.terminate()
        broker.wait(STOPPED_WITHIN_S)
    finally:
        broker.kill()
        broker.wait()


def run(here: Layout, *arguments: str) -> None:
    """Run Java with Kafka's jars; raises Failed when it does not end with status 0."""
    run_java(kafka.java(here, Path(tempfile.gettempdir()), *arguments), environment(here))


def run_java(command: Sequence[str | Path], environ: Mapping[str, str]) -> None:
    """Run Java until it ends; raises Failed when its status is not 0."""
    done = subprocess.run(tied_to_this_process(command, None), env=environ, check=False)
    if done.returncode:
        raise Failed(f"java ended with status {done.returncode}")


def environment(here: Layout) -> dict[str, str]:
    """Return the environment of Java."""
    return here.java_environment() | {"PATH": os.environ.get("PATH", "")}


def main(arguments: Iterable[str]) -> int:
    """Write the archive to the file that the argument names; return the exit status."""
    (path,) = arguments
    try:
        archive(layout.here(), Path(path))
    except (Failed, subprocess.TimeoutExpired) as failure:
        print(failure, file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
