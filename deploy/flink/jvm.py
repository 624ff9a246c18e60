"""The JVM that the cluster runs in. It ends with this process, and shares its standard output and error."""

import logging
import os
import shlex
import struct
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pyflink import pyflink_gateway_server as packaged

from deploy.install import layout
from deploy.install.layout import Layout
from deploy.local.supervision.programs import tied_to_this_process

START_S = 60.0
STOP_S = 8.0
SERVER = "org.apache.flink.client.python.PythonGatewayServer"
# Half a gigabyte of heap, and nothing written outside the cluster's folder. The first compiler alone: the second one works
# for minutes on code that jobs which mostly wait hardly run (DECISIONS 58).
OPTIONS = (
    "-Xms64m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:MaxMetaspaceSize=384m",
    "-XX:ReservedCodeCacheSize=96m",
    "-XX:-UsePerfData",
    "-Xss512k",
    # The schedulers of Flink's two actor systems wake up a hundred times a second by default, and have next to nothing to do.
    "-Dpekko.scheduler.tick-duration=100ms",
)


class NotStarted(RuntimeError):
    """The JVM ended, or did not answer in time."""


def start(environ: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Start the JVM and have PyFlink use it; the JVM ends when its standard input closes.

    PyFlink's own start gives the JVM a pipe for its errors that nobody reads. Raises NotStarted, and KeyError
    without JAVA_HOME.
    """
    with tempfile.TemporaryDirectory(dir=environ["TMPDIR"]) as folder:
        port_file = Path(folder) / "port"
        # The second variable: Python code inside the JVM that wants a JVM of its own gets an error instead.
        env = dict(environ) | {"_PYFLINK_CONN_INFO_PATH": str(port_file), "PYFLINK_GATEWAY_DISABLED": "1"}
        child = subprocess.Popen(tied_to_this_process(command(env), None), stdin=subprocess.PIPE, env=env)
        os.environ["PYFLINK_GATEWAY_PORT"] = str(_port(child, port_file))
    return child


def command(env: dict[str, str]) -> list[str]:
    """Return the command that starts the JVM, from the same parts as PyFlink's own command."""
    packaged.prepare_environment_variables(env)
    options = [
        *OPTIONS,
        *archived_classes(java(env), layout.here()),
        *shlex.split(env.get("JVM_ARGS", "")),
        f"-Djava.io.tmpdir={env['TMPDIR']}",
    ]
    # A runtime without the compiler warns of options that name it.
    opened = [option for option in packaged.get_jvm_opts(env) if "jdk.compiler" not in option]
    log_settings = packaged.construct_log_settings(env)
    class_path = packaged.construct_flink_classpath(env)
    return [str(java(env)), *options, *opened, *log_settings, "-cp", class_path, SERVER]


def archived_classes(java_program: Path, here: Layout) -> tuple[str, ...]:
    """Return the option that uses the archive of the jobs' classes, if there is one and it was made by this Java."""
    is_ours = java_program == here.java and here.flink_classes.exists()
    return (f"-XX:SharedArchiveFile={here.flink_classes}",) if is_ours else ()


def java(environ: Mapping[str, str]) -> Path:
    """Return the Java to run. Raises KeyError without JAVA_HOME."""
    return Path(environ["JAVA_HOME"]) / "bin" / "java"


def stop(child: "subprocess.Popen[bytes]") -> None:
    """Stop the JVM; kill it when it does not end in time."""
    # Otherwise each Java object that Python still holds logs that the JVM is gone.
    logging.disable()
    child.terminate()
    with suppress(subprocess.TimeoutExpired):
        child.wait(STOP_S)
        return
    child.kill()
    child.wait()


def _port(child: "subprocess.Popen[bytes]", port_file: Path) -> int:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise NotStarted(f"the JVM of the jobs ended with status {child.returncode}")
        with suppress(FileNotFoundError, struct.error):
            return int(struct.unpack("!I", port_file.read_bytes()[:4])[0])
        time.sleep(0.05)
    child.kill()
    raise NotStarted(f"the JVM of the jobs did not answer within {START_S:.0f} s")
