"""The gateway's composition root: settings from the environment, one listening socket, a process per core.

    python -m gateway [--help]

Settings are FLUORO_DIMSE_*, FLUORO_INTAKE_*, FLUORO_QUARANTINE_*, FLUORO_STORE_* and FLUORO_BROKER_* (.env.example
lists each with its default). Exits 0 after SIGTERM, 1 when one of its processes died, 2 for settings that cannot be.
"""

import argparse
import asyncio
import ctypes
import ipaddress
import logging
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from types import FrameType

from prometheus_client import start_http_server

from gateway.dimse.admission import Tally
from gateway.dimse.peers import PeersFile
from gateway.dimse.tls import context_of
from gateway.intake.lifespan import STOP_S, Connectors, open_intake
from gateway.process import serve
from operators.connectors.kafka.log import KafkaEventLog
from operators.connectors.s3.store import S3ObjectStore
from schemas.settings.dimse import DimseSettings
from schemas.settings.intake import IntakeSettings, QuarantineSettings
from schemas.settings.reading import SettingsError, load_all
from schemas.settings.servers import BrokerSettings, StoreSettings
from schemas.telemetry import set_up_logs

BACKLOG = 128
PR_SET_PDEATHSIG = 1
START_S = 30.0
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Settings:
    """Every section that the gateway reads."""

    dimse: DimseSettings
    intake: IntakeSettings
    quarantine: QuarantineSettings
    store: StoreSettings
    broker: BrokerSettings


@dataclass(frozen=True)
class Common:
    """What all processes of a gateway have from their parent."""

    settings: Settings
    listening: socket.socket
    tally: Tally


def main(arguments: Sequence[str]) -> int:
    """Run the gateway; give its exit code."""
    argparse.ArgumentParser(
        prog="python -m gateway", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args(arguments)
    try:
        settings = load_all(Settings, os.environ)
        _check(settings.dimse)
        listening = _listen(settings.dimse)
    except (SettingsError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - for the person who started it
        return 2
    return _supervise(listening, settings)


def _check(settings: DimseSettings) -> None:
    """Look at the files that the settings name, and at who could listen; raises SettingsError, all problems at once."""
    problems = [problem] if (problem := _in_the_open(settings)) else []
    for look in (PeersFile(settings).load, lambda: context_of(settings)):
        try:
            look()
        except SettingsError as error:
            problems.append(str(error))
    if problems:
        raise SettingsError("\n".join(problems))


def _in_the_open(settings: DimseSettings) -> str | None:
    """Return what is wrong with images and names on a network where others can read them."""
    if settings.tls_certificate or settings.plaintext_public or _is_loopback(settings.host):
        return None
    return (
        f"FLUORO_DIMSE_HOST: {settings.host or 'every address'} is not loopback and there is no TLS: set"
        " FLUORO_DIMSE_TLS_CERTIFICATE and FLUORO_DIMSE_TLS_KEY,"
        " or FLUORO_DIMSE_PLAINTEXT_PUBLIC=1 to send everything in clear"
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(settings: DimseSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    listening.set_inheritable(True)
    return listening


def _supervise(listening: socket.socket, settings: Settings) -> int:
    """Start the processes, pass signals on, and end when one of them does: all of them, or none."""
    common = Common(settings, listening, Tally(settings.dimse.processes))
    started = [_start(index, common) for index in range(settings.dimse.processes)]
    children = [process for process, _ in started]
    is_stopping = _pass_signals_on(children)
    if all(_is_ready(ready) for _, ready in started):
        host, port = listening.getsockname()[:2]
        print(f"listening on {host}:{port} as {settings.dimse.ae_title}", flush=True)  # noqa: T201
        wait([process.sentinel for process in children])
    _end(children)
    return 0 if is_stopping() and not any(process.exitcode for process in children) else 1


def _is_ready(ready: Connection) -> bool:
    try:
        return ready.poll(START_S) and bool(ready.recv())
    except EOFError:
        return False


def _start(index: int, common: Common) -> tuple[ForkProcess, Connection]:
    ours, theirs = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_child, args=(index, common, theirs, os.getpid()), name=f"gateway-{index}")
    process.start()
    theirs.close()
    return process, ours


def _pass_signals_on(processes: Sequence[ForkProcess]) -> Callable[[], bool]:
    """Pass SIGTERM and SIGINT on; give whether one has come."""
    received = []

    def pass_on(number: int, _: FrameType | None) -> None:
        received.append(number)
        for process in processes:
            process.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    return lambda: bool(received)


def _end(processes: Sequence[ForkProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(4 * STOP_S)
        if process.is_alive():
            process.kill()
            process.join()


def _child(index: int, common: Common, ready: Connection, parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        # It died before it could be noticed.
        return
    set_up_logs("gateway")
    for library in ("pynetdicom", "pydicom"):
        # Their warnings quote what peers send.
        logging.getLogger(library).setLevel(logging.CRITICAL)
    dimse = common.settings.dimse
    if dimse.metrics_port:
        start_http_server(dimse.metrics_port + index, addr=dimse.host)
    common.tally.become(index)
    asyncio.run(_serve(common, lambda: ready.send(True)))


async def _serve(common: Common, ready: Callable[[], None]) -> None:
    settings = common.settings
    async with S3ObjectStore(settings.store) as store, KafkaEventLog(settings.broker) as events:
        inside = open_intake(settings.intake, settings.quarantine, Connectors(store, events))
        await serve(common.listening, settings.dimse, inside, ready, common.tally)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
