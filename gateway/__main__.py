"""The composition root of the gateway: settings from the environment, one listening socket, a process per core.

    python -m gateway [--help]

Settings are FLUORO_DIMSE_*, FLUORO_INTAKE_*, FLUORO_QUARANTINE_*, FLUORO_STORE_* and FLUORO_BROKER_* (.env.example
lists each with its default). A process that ends is started again. Exits 0 after SIGTERM, 1 when a process was started five
times in a row without becoming ready, 2 for settings with mistakes.
"""

import argparse
import asyncio
import ctypes
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial

from gateway.children import Children, Post
from gateway.dimse.admission import AssociationCounts
from gateway.dimse.peers import PeersFile
from gateway.dimse.tls import tls_context
from gateway.health import serve_health
from gateway.intake.lifespan import Connectors, open_intake
from gateway.process import serve
from operators.connectors.kafka.log import KafkaEventLog
from operators.connectors.s3.store import S3ObjectStore
from operators.readiness import Readiness
from operators.tasks import Background
from schemas.settings.dimse import DimseSettings
from schemas.settings.intake import IntakeSettings, QuarantineSettings
from schemas.settings.reading import SettingsError, is_loopback, load_all
from schemas.settings.servers import BrokerSettings, StoreSettings
from schemas.telemetry import GATEWAY_PROCESS_STARTS, set_up_logs

BACKLOG = 128
PR_SET_PDEATHSIG = 1


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
    parent: int


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
    if settings.tls_certificate or settings.plaintext_public or is_loopback(settings.host):
        return None
    return (
        f"FLUORO_DIMSE_HOST: {settings.host or 'every address'} is not loopback and there is no TLS: set"
        " FLUORO_DIMSE_TLS_CERTIFICATE and FLUORO_DIMSE_TLS_KEY,"
        " or FLUORO_DIMSE_PLAINTEXT_PUBLIC=1 to send everything unencrypted"
    )


def _listen(settings: DimseSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    listening.set_inheritable(True)
    return listening


def _supervise(listening: socket.socket, settings: GatewayProcessSettings) -> int:
    """Keep the processes running until a signal stops them; return the exit code."""
    set_up_logs("gateway")
    shared = Shared(settings, listening, AssociationCounts(settings.dimse.processes), os.getpid())
    freeze_what_is_loaded()
    host, port = listening.getsockname()[:2]
    children = Children(settings.dimse.processes, partial(_child, shared), shared.counts.clear)
    line = f"listening on {host}:{port} as {settings.dimse.ae_title}"
    return 0 if children.run(lambda: print(line, flush=True)) else 1  # noqa: T201


def freeze_what_is_loaded() -> None:
    """Leave all objects of this moment out of collections of garbage, here and in the processes that are forked.

    A full collection, which may fall into any turn of an event loop, takes 25 to 95 ms for the 86,000 objects of the
    modules. Cycles of later objects are collected as ever.
    """
    gc.collect()
    gc.freeze()


def _child(shared: Shared, post: Post, ready: Callable[[], None]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != shared.parent:
        # The parent died before prctl was called, so its death sends no signal.
        return
    set_up_logs("gateway")
    for library in ("pynetdicom", "pydicom"):
        # The warnings of these libraries quote what peers send.
        logging.getLogger(library).setLevel(logging.CRITICAL)
    GATEWAY_PROCESS_STARTS.set(post.starts)
    shared.counts.use_row(post.index)
    asyncio.run(_serve(shared, post, ready))


def _settings_at(post: Post, settings: GatewayProcessSettings) -> GatewayProcessSettings:
    """Return the settings of a process: a failpoint ends only the first one in each place, so that the next one can heal."""
    return settings if post.starts == 1 else replace(settings, intake=replace(settings.intake, failpoint=""))


async def _serve(shared: Shared, post: Post, ready: Callable[[], None]) -> None:
    settings, background = _settings_at(post, shared.settings), Background()
    async with S3ObjectStore(settings.store) as store, KafkaEventLog(settings.broker) as events:
        intake = open_intake(settings.intake, settings.quarantine, Connectors(store, events), background)
        readiness = Readiness({"store": store.check, "broker": events.check}, background.failing)
        with _health(settings.dimse, post.index, readiness):
            await serve(shared.listening, settings.dimse, intake, ready, shared.counts)


def _health(settings: DimseSettings, index: int, readiness: Readiness) -> AbstractContextManager[object]:
    """Answer at this process's own port, if the settings name one."""
    if not settings.metrics_port:
        return nullcontext()
    return serve_health(settings.host, settings.metrics_port + index, readiness.states)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
