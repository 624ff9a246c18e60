"""The composition root of the gateway: settings from the environment, one listening socket, a process per core.

    python -m gateway [--help]

Settings are FLUORO_DIMSE_*, FLUORO_INTAKE_*, FLUORO_QUARANTINE_*, FLUORO_STORE_* and FLUORO_BROKER_* (.env.example
lists each with its default). Exits 0 after SIGTERM, 1 when one of its processes died, 2 for settings with mistakes.
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

from gateway.dimse.admission import AssociationCounts
from gateway.dimse.peers import PeersFile
from gateway.dimse.tls import tls_context
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
class GatewayProcessSettings:
    """The sections of settings that the gateway reads."""

    dimse: DimseSettings
    intake: IntakeSettings
    quarantine: QuarantineSettings
    store: StoreSettings
    broker: BrokerSettings


@dataclass(frozen=True)
class Shared:
    """The objects that every process of a gateway inherits from its parent."""

    settings: GatewayProcessSettings
    listening: socket.socket
    counts: AssociationCounts


def main(arguments: Sequence[str]) -> int:
    """Run the gateway and return its exit code."""
    argparse.ArgumentParser(
        prog="python -m gateway", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args(arguments)
    try:
        settings = load_all(GatewayProcessSettings, os.environ)
        _check(settings.dimse)
        listening = _listen(settings.dimse)
    except (SettingsError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - for the person at the terminal
        return 2
    return _supervise(listening, settings)


def _check(settings: DimseSettings) -> None:
    """Check the address and the files that the settings name; raises SettingsError with all problems at once."""
    problems = [problem] if (problem := _plaintext_problem(settings)) else []
    for check in (PeersFile(settings).load, lambda: tls_context(settings)):
        try:
            check()
        except SettingsError as error:
            problems.append(str(error))
    if problems:
        raise SettingsError("\n".join(problems))


def _plaintext_problem(settings: DimseSettings) -> str | None:
    """Return the problem if images and names would go unencrypted over a network."""
    if settings.tls_certificate or settings.plaintext_public or _is_loopback(settings.host):
        return None
    return (
        f"FLUORO_DIMSE_HOST: {settings.host or 'every address'} is not loopback and there is no TLS: set"
        " FLUORO_DIMSE_TLS_CERTIFICATE and FLUORO_DIMSE_TLS_KEY,"
        " or FLUORO_DIMSE_PLAINTEXT_PUBLIC=1 to send everything unencrypted"
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


def _supervise(listening: socket.socket, settings: GatewayProcessSettings) -> int:
    """Start the processes, forward signals to them, and end all as soon as one has ended; return the exit code."""
    shared = Shared(settings, listening, AssociationCounts(settings.dimse.processes))
    started = [_start(index, shared) for index in range(settings.dimse.processes)]
    children = [process for process, _ in started]
    is_stopping = _forward_signals(children)
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


def _start(index: int, shared: Shared) -> tuple[ForkProcess, Connection]:
    ours, theirs = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_child, args=(index, shared, theirs, os.getpid()), name=f"gateway-{index}")
    process.start()
    theirs.close()
    return process, ours


def _forward_signals(processes: Sequence[ForkProcess]) -> Callable[[], bool]:
    """Forward SIGTERM and SIGINT; return a function that returns True once a signal was received."""
    received = []

    def forward(number: int, _: FrameType | None) -> None:
        received.append(number)
        for process in processes:
            process.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    return lambda: bool(received)


def _end(processes: Sequence[ForkProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(4 * STOP_S)
        if process.is_alive():
            process.kill()
            process.join()


def _child(index: int, shared: Shared, ready: Connection, parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        # The parent died before prctl was called, so its death sends no signal.
        return
    set_up_logs("gateway")
    for library in ("pynetdicom", "pydicom"):
        # The warnings of these libraries quote what peers send.
        logging.getLogger(library).setLevel(logging.CRITICAL)
    dimse = shared.settings.dimse
    if dimse.metrics_port:
        start_http_server(dimse.metrics_port + index, addr=dimse.host)
    shared.counts.use_row(index)
    asyncio.run(_serve(shared, lambda: ready.send(True)))


async def _serve(shared: Shared, ready: Callable[[], None]) -> None:
    settings = shared.settings
    async with S3ObjectStore(settings.store) as store, KafkaEventLog(settings.broker) as events:
        intake = open_intake(settings.intake, settings.quarantine, Connectors(store, events))
        await serve(shared.listening, settings.dimse, intake, ready, shared.counts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
