"""The read API as a process: how it starts, what it says when it cannot, how it ends."""

import signal
import socket

from tests.support.machine.processes import free_port, started

WAIT_S = 20.0


def test_wrong_settings_are_all_named_at_once_and_nothing_starts() -> None:
    process = started("api", FLUORO_API_PORT="x", FLUORO_CATALOG_CONNECTIONS="0")
    said, complained = process.communicate(timeout=WAIT_S)

    assert (process.returncode, said) == (2, "")
    assert complained.splitlines() == [
        "FLUORO_API_PORT: should be a whole number",
        "FLUORO_CATALOG_CONNECTIONS: should be at least 1",
        "FLUORO_STORE_ACCESS_KEY, FLUORO_STORE_SECRET_KEY: should be set, or each as a _FILE",
    ]


def test_it_says_when_it_is_ready_even_while_its_servers_are_away_and_ends_when_asked() -> None:
    port = free_port()
    process = started(
        "api",
        FLUORO_API_PORT=str(port),
        FLUORO_CATALOG_PORT="1",
        FLUORO_STORE_ENDPOINT="http://127.0.0.1:1",
        FLUORO_STORE_ACCESS_KEY="key",
        FLUORO_STORE_SECRET_KEY="secret",
    )
    try:
        assert process.stdout
        ready = process.stdout.readline()
        with socket.create_connection(("127.0.0.1", port), WAIT_S) as connection:
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(4096), b""))
    finally:
        process.send_signal(signal.SIGTERM)
        _, complained = process.communicate(timeout=WAIT_S)

    assert ready == f"fluoro api ready on http://127.0.0.1:{port}/dicomweb\n"
    assert answer.startswith(b"HTTP/1.1 503")
    assert answer.endswith(b'{"catalog":"away","store":"away"}')
    assert process.returncode == 0
    assert "Traceback" not in complained
