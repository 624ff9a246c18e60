"""The web origin as a process while all its servers are down: how it starts, answers and ends."""

import os
import re
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import httpx
import psutil
import pytest
from granian.constants import Interfaces
from granian.server.mp import MPServer

from deploy.web import DRAIN_S, RespawningServer
from tests.support.machine.processes import free_port, started
from tests.support.worlds.reading import part10
from tests.support.worlds.stow import BOUNDARY, PARTS, multipart

WAIT_S = 30.0
POST = "POST /dicomweb/studies HTTP/1.1\r\nHost: localhost\r\n"


@contextmanager
def web(folder: Path, **settings: str) -> Iterator[tuple[int, Popen[str]]]:
    """A running origin while all its servers are down."""
    port = free_port()
    process = started(
        "deploy.web",
        FLUORO_API_PORT=str(port),
        FLUORO_CATALOG_PORT="1",
        FLUORO_STORE_ENDPOINT="http://127.0.0.1:1",
        FLUORO_STORE_ACCESS_KEY="key",
        FLUORO_STORE_SECRET_KEY="secret",
        FLUORO_BROKER_BOOTSTRAP="127.0.0.1:1",
        FLUORO_INTAKE_SPOOL_DIR=str(folder / "spool"),
        FLUORO_INTAKE_OUTBOX_DIR=str(folder / "outbox"),
        **settings,
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == f"fluoro web ready on http://127.0.0.1:{port}/dicomweb\n"
        yield port, process
    finally:
        process.send_signal(signal.SIGTERM)
        _, complained = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert "Traceback" not in complained


def test_wrong_settings_are_all_named_at_once_and_nothing_starts() -> None:
    process = started("deploy.web", FLUORO_STOW_PARTS="0", FLUORO_API_PORT="x", FLUORO_CATALOG_CONNECTIONS="0")
    said, complained = process.communicate(timeout=WAIT_S)

    assert (process.returncode, said) == (2, "")
    assert complained.splitlines() == [
        "FLUORO_API_PORT: should be a whole number",
        "FLUORO_STOW_PARTS: should be at least 1",
        "FLUORO_CATALOG_CONNECTIONS: should be at least 1",
        "FLUORO_STORE_ACCESS_KEY, FLUORO_STORE_SECRET_KEY: should be set, or each as a _FILE",
    ]


def test_without_its_servers_the_origin_starts_and_every_answer_is_503(tmp_path: Path) -> None:
    with web(tmp_path) as (port, _), httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_S) as client:
        ready = client.get("/readyz")
        stored = client.post("/dicomweb/studies", content=multipart(part10()), headers={"content-type": PARTS})
        commanded = client.post("/v1/studies/1.2.3/commands", json={"action": "delete", "why": "wrong"})
        put = client.put("/v1/policies/tiering/age", json={"rules": [], "why": "wrong"})
        allowed = client.options("/dicomweb/studies")
        counted = client.get("/metrics").text

    assert (ready.status_code, ready.json()) == (503, {"catalog": "away", "store": "away", "broker": "away"})
    assert (stored.status_code, stored.headers["retry-after"]) == (503, "5")
    assert stored.json()["00081198"]["Value"][0]["00081197"] == {"vr": "US", "Value": [0xA700]}
    for change in (commanded, put):
        assert (change.status_code, change.headers["content-type"]) == (503, "application/problem+json")
    assert allowed.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    assert 'fluoro_stow_requests_total{status="503"} 1.0' in counted


def test_a_client_that_still_sends_when_the_process_is_stopped_gets_503_and_the_process_ends(tmp_path: Path) -> None:
    with web(tmp_path) as (port, process), socket.create_connection(("127.0.0.1", port), WAIT_S) as connection:
        head = f"{POST}Content-Type: {PARTS}\r\nContent-Length: 999999\r\n"
        connection.sendall(f"{head}\r\n--{BOUNDARY}\r\n\r\n".encode() + part10())
        until = time.monotonic() + WAIT_S
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            while "fluoro_stow_open 1.0" not in client.get("/metrics").text:
                assert time.monotonic() < until
        process.send_signal(signal.SIGTERM)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))

    assert answer.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 5" in answer
    assert not list((tmp_path / "outbox").iterdir())


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (POST, b""),
        (f"{POST}Content-Type: {PARTS}\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n--BO\r\n", b"HTTP/1.1 408"),
    ],
    ids=["head", "body"],
)
def test_a_client_that_stops_in_the_middle_of_a_request_is_disconnected(
    tmp_path: Path, sent: str, answer: bytes
) -> None:
    with (
        web(tmp_path, FLUORO_STOW_SILENCE_S="1") as (port, _),
        socket.create_connection(("127.0.0.1", port), WAIT_S) as connection,
    ):
        connection.sendall(sent.encode())
        said = b"".join(iter(lambda: connection.recv(4096), b""))

    assert said.startswith(answer)


@pytest.mark.parametrize("workers", [2])
def test_each_worker_reports_the_metrics_of_all_workers(tmp_path: Path, workers: int) -> None:
    asked = 20
    with web(tmp_path, FLUORO_API_WORKERS=str(workers)) as (port, _):
        for _ in range(asked):
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
                client.options("/dicomweb/studies")
        found = httpx.get(f"http://127.0.0.1:{port}/metrics").text

    assert re.search(rf'fluoro_stow_requests_total{{status="204"}} {asked}\.0', found)


def workers_of(process: Popen[str]) -> list[psutil.Process]:
    """Return the processes that answer requests."""
    children = psutil.Process(process.pid).children()
    return [child for child in children if "spawn_main" in command_line(child)]


def command_line(process: psutil.Process) -> str:
    """Return the command of a process; nothing for one that has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def worker_of(connection: socket.socket, workers: list[psutil.Process]) -> psutil.Process:
    """Return the worker that accepts a connection, once it has."""
    port, found = connection.getsockname()[1], list[psutil.Process]()

    def is_found() -> bool:
        found[:] = [worker for worker in workers if port in {one.raddr.port for one in accepted(worker)}]
        return bool(found)

    until(is_found)
    return found[0]


def accepted(worker: psutil.Process) -> list[Any]:
    return [one for one in worker.net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED]


def lines_until(process: Popen[str], word: str) -> str:
    """Return what a process has written to standard error, once a word is in it."""
    assert process.stderr
    found, descriptor = "", process.stderr.fileno()
    while word not in found:
        assert select.select([descriptor], [], [], WAIT_S)[0]
        found += os.read(descriptor, 4096).decode()
    return found


def until(condition: Callable[[], bool]) -> None:
    bound = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < bound
        time.sleep(0.02)


def test_a_dead_worker_breaks_only_its_own_requests_and_has_a_successor(tmp_path: Path) -> None:
    body = multipart(part10())
    head = f"{POST}Content-Type: {PARTS}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with web(tmp_path, FLUORO_API_WORKERS="2") as (port, process), ExitStack() as opened:
        until(lambda: len(workers_of(process)) == 2)
        workers = workers_of(process)
        held: dict[int, list[socket.socket]] = {worker.pid: [] for worker in workers}

        def is_in_both() -> bool:
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", port), WAIT_S))
            connection.sendall(head + body[:-1])
            held[worker_of(connection, workers).pid].append(connection)
            return all(held.values())

        def open_requests() -> float:
            text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
            return float(text.split("\nfluoro_stow_open ")[1].split()[0])

        until(is_in_both)
        until(lambda: open_requests() == sum(map(len, held.values())))
        dead, alive = workers
        dead.kill()
        until(lambda: len(workers_of(process)) == 2 and dead not in workers_of(process))
        counted = open_requests()
        for connection in held[alive.pid]:
            connection.sendall(body[-1:])
        answers = [connection.recv(100) for connection in held[alive.pid]]

        assert '"event": "web_worker_ended"' in lines_until(process, "web_worker_ended")
        assert counted == len(held[alive.pid])
        assert all(answer.startswith(b"HTTP/1.1 503") for answer in answers)
        assert all(httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200 for _ in range(8))


def test_a_stop_that_comes_while_a_dead_worker_is_replaced_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MPServer, "_respawn_workers", lambda *_: None)
    server = RespawningServer("deploy.web:build", interface=Interfaces.ASGI)

    server.signal_handler_interrupt()  # type: ignore[no-untyped-call]
    server.main_loop_interrupt.clear()
    server._respawn_workers([])

    assert server.main_loop_interrupt.is_set()


def test_a_stop_that_comes_while_a_worker_starts_waits_for_nothing(tmp_path: Path) -> None:
    with web(tmp_path) as (_, process):
        (dead,) = psutil.Process(process.pid).children()
        dead.kill()
        until(lambda: dead not in psutil.Process(process.pid).children())
        until(lambda: bool(psutil.Process(process.pid).children()))
        process.terminate()

        assert process.wait(DRAIN_S / 2) == 0
