"""The gateway as users start it: its start line, its exit codes, and what becomes of the others when one of its processes ends."""

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association

from operators.restarts import MAX_STARTS
from tests.support.senders.scu import request
from tests.support.senders.sender import Peer

ROOT = Path(__file__).parents[3]
CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
WAIT_S = 20.0
ACCEPTED, REJECTED = 2, 3
# Nobody listens on port 1: a store and a broker that are down.
DOWN = {"FLUORO_STORE_ENDPOINT": "http://127.0.0.1:1", "FLUORO_BROKER_BOOTSTRAP": "127.0.0.1:1"}


@dataclass
class Started:
    """A gateway in processes of its own."""

    parent: subprocess.Popen[str]
    port: int
    _logged: str = ""

    def logged(self) -> str:
        """Return what the gateway has logged so far."""
        assert self.parent.stderr
        while select.select([self.parent.stderr], [], [], 0)[0]:
            self._logged += os.read(self.parent.stderr.fileno(), 65536).decode()
        return self._logged

    @property
    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.parent.pid).children()


def command(env: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLUORO_")}
    return subprocess.Popen(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=ROOT,
        env={**kept, **env},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


BROKEN = {"FLUORO_DIMSE_PORT": "eleven", "FLUORO_DIMSE_TENANT": "No Such", "FLUORO_BROKER_PRODUCE_S": "0"}


@contextmanager
def started(folder: Path, **changes: str) -> Iterator[Started]:
    env = DOWN | {
        "FLUORO_DIMSE_PORT": "0",
        "FLUORO_DIMSE_PROCESSES": "2",
        "FLUORO_INTAKE_SPOOL_DIR": str(folder / "spool"),
        "FLUORO_INTAKE_OUTBOX_DIR": str(folder / "outbox"),
    }
    parent = command(env | changes)
    try:
        assert parent.stdout is not None
        line = parent.stdout.readline()
        assert line.startswith("listening on ")
        assert line.endswith(" as FLUORO\n")
        yield Started(parent, int(line.split(":")[1].split()[0]))
    finally:
        parent.kill()
        parent.communicate(timeout=WAIT_S)


def wait_for(condition: Callable[[], bool], every_s: float = 0.02) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, f"the condition did not hold within {WAIT_S:.0f} s"
        time.sleep(every_s)


def slice_of(number: int) -> Dataset:
    content = Dataset()
    content.ensure_file_meta()
    content.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content.SOPClassUID, content.SOPInstanceUID = CT, f"1.2.3.{number}"
    content.StudyInstanceUID, content.SeriesInstanceUID = "1.2.3", "1.2.3.0"
    return content


def test_without_store_and_broker_echoes_succeed_and_instances_get_a700(tmp_path: Path) -> None:
    entity = AE("SENDER")
    entity.add_requested_context(VERIFICATION)
    entity.add_requested_context(CT, ExplicitVRLittleEndian)
    with started(tmp_path) as gateway:
        association = entity.associate("127.0.0.1", gateway.port)
        echoed = association.send_c_echo().Status
        began_at = time.monotonic()
        refused = association.send_c_store(slice_of(1)).Status
        took_s = time.monotonic() - began_at
        association.release()

    assert (echoed, refused) == (0x0000, 0xA700)
    assert took_s < 15


def free_ports() -> int:
    """Return a port that is free, as is the one after it."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first, suppress(OSError):
            port = int(first.getsockname()[1])
            with socket.create_server(("127.0.0.1", port + 1)):
                return port


def test_every_process_says_whether_it_lives_and_is_ready(tmp_path: Path) -> None:
    port = free_ports()
    with started(tmp_path, FLUORO_DIMSE_METRICS_PORT=str(port)):
        for index in range(2):
            alive = httpx.get(f"http://127.0.0.1:{port + index}/livez", trust_env=False)
            ready = httpx.get(f"http://127.0.0.1:{port + index}/readyz", trust_env=False)
            metrics = httpx.get(f"http://127.0.0.1:{port + index}/metrics", trust_env=False)

            assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
            assert (ready.status_code, ready.json()) == (503, {"store": "away", "broker": "away"})
            assert "fluoro_gateway_associations" in metrics.text


def test_a_signal_ends_the_gateway_with_exit_code_0(tmp_path: Path) -> None:
    with started(tmp_path) as gateway:
        workers = gateway.workers
        gateway.parent.send_signal(signal.SIGTERM)

        assert gateway.parent.wait(WAIT_S) == 0
        assert not any(worker.is_running() for worker in workers)
    assert list((tmp_path / "outbox").iterdir()) == []


def test_repeated_signals_change_nothing(tmp_path: Path) -> None:
    with started(tmp_path) as gateway:
        workers = gateway.workers
        gateway.parent.send_signal(signal.SIGTERM)
        bound = time.monotonic() + WAIT_S
        while gateway.parent.poll() is None and time.monotonic() < bound:
            for worker in workers:
                with suppress(psutil.NoSuchProcess):
                    worker.send_signal(signal.SIGTERM)

        assert gateway.parent.wait(WAIT_S) == 0


def holder_of(association: Association, workers: list[psutil.Process]) -> psutil.Process:
    """Return the process that has accepted an association."""
    port = association.dul.socket.socket.getsockname()[1]
    return next(worker for worker in workers if port in {one.raddr.port for one in connections_of(worker)})


def connections_of(worker: psutil.Process) -> list[Any]:
    return [one for one in worker.net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED]


def echoes(association: Association) -> bool:
    return bool(association.is_established and association.send_c_echo().get("Status") == 0)


def associations_in_both(gateway: Started) -> dict[int, Association]:
    """Return an association in each process of the gateway, by the id of the process."""
    found: dict[int, Association] = {}

    def is_in_both() -> bool:
        association = caller("SENDER").associate("127.0.0.1", gateway.port)
        found[holder_of(association, gateway.workers).pid] = association
        return len(found) == len(gateway.workers)

    wait_for(is_in_both)
    return found


def test_a_dead_process_breaks_only_its_own_associations_and_has_a_successor(tmp_path: Path) -> None:
    with started(tmp_path) as gateway:
        workers = gateway.workers
        held = associations_in_both(gateway)
        workers[0].kill()
        wait_for(lambda: len(gateway.workers) == len(workers) and workers[0] not in gateway.workers)
        echoed = {pid: echoes(association) for pid, association in held.items()}
        again = associations_in_both(gateway)

        assert echoed == {workers[0].pid: False, workers[1].pid: True}
        assert workers[1].pid in again
        assert gateway.parent.poll() is None


def test_the_places_of_a_dead_processs_associations_are_free_again(tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    path.write_text(PEER)
    with started(tmp_path, FLUORO_DIMSE_PEERS_FILE=str(path), FLUORO_DIMSE_PROCESSES="1") as gateway:
        (first,) = gateway.workers
        held = [caller("FEW").associate("127.0.0.1", gateway.port, ae_title="FLUORO") for _ in range(3)]
        first.kill()
        wait_for(lambda: gateway.workers not in ([], [first]))
        calls = [caller("FEW").associate("127.0.0.1", gateway.port, ae_title="FLUORO") for _ in range(3)]

        assert all(call.is_established for call in calls)
        assert not any(echoes(one) for one in held)


def test_a_signal_while_a_process_is_started_again_ends_the_gateway_with_exit_code_0(tmp_path: Path) -> None:
    with started(tmp_path) as gateway:
        workers = gateway.workers
        workers[0].kill()
        wait_for(lambda: len(gateway.workers) == len(workers) and workers[0] not in gateway.workers)
        successors = gateway.workers
        gateway.parent.send_signal(signal.SIGTERM)

        assert gateway.parent.wait(WAIT_S) == 0
        assert not any(worker.is_running() for worker in successors)


def test_a_process_for_which_the_system_has_no_room_is_tried_again(tmp_path: Path) -> None:
    with started(tmp_path) as gateway:
        first, second = gateway.workers
        # The parent may open no more descriptors, so that it cannot make the pipe for another process.
        soft, hard = resource.prlimit(gateway.parent.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(gateway.parent.pid, resource.RLIMIT_NOFILE, (3, hard))
        first.kill()
        wait_for(lambda: '"gateway_process_not_started"' in gateway.logged())
        resource.prlimit(gateway.parent.pid, resource.RLIMIT_NOFILE, (soft, hard))
        wait_for(lambda: len(gateway.workers) == 2)

        assert second in gateway.workers


def test_processes_that_never_become_ready_end_the_gateway_with_exit_code_1(tmp_path: Path) -> None:
    # The spool folder cannot be made, so that no process can open its intake.
    (tmp_path / "file").touch()
    env = DOWN | {"FLUORO_DIMSE_PORT": "0", "FLUORO_INTAKE_SPOOL_DIR": str(tmp_path / "file" / "spool")}
    with command(env) as process:
        printed, logged = process.communicate(timeout=WAIT_S)

    assert (process.returncode, printed) == (1, "")
    ends = [json.loads(line) for line in logged.splitlines() if '"gateway_process_ended"' in line]
    assert max(Counter(end["index"] for end in ends).values()) == MAX_STARTS
    assert {end["exit_code"] for end in ends} == {1}


def test_processes_die_with_their_parent(tmp_path: Path) -> None:
    with started(tmp_path) as gateway:
        workers = gateway.workers
        gateway.parent.kill()

        wait_for(lambda: not any(worker.is_running() for worker in workers))


PEER = """
[[peer]]
name = "few"
calling_ae = "FEW"
networks = ["127.0.0.1/32"]
tenant = "local"
services = ["echo"]
associations = 3
"""


def caller(title: str) -> AE:
    entity = AE(title)
    entity.add_requested_context(VERIFICATION)
    return entity


def test_the_limit_of_a_peer_holds_over_all_processes(tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    path.write_text(PEER)
    with started(tmp_path, FLUORO_DIMSE_PEERS_FILE=str(path)) as gateway:
        calls = [caller("FEW").associate("127.0.0.1", gateway.port, ae_title="FLUORO") for _ in range(4)]
        established = [call.is_established for call in calls]
        for call in calls:
            if call.is_established:
                call.release()

    assert established == [True, True, True, False]


def test_a_changed_peers_file_reaches_every_process(tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    path.write_text(PEER)
    with started(tmp_path, FLUORO_DIMSE_PEERS_FILE=str(path)) as gateway:

        def first_answer() -> int:
            with socket.create_connection(("127.0.0.1", gateway.port), timeout=WAIT_S) as connection:
                connection.sendall(request(Peer(gateway.port), VERIFICATION, ImplicitVRLittleEndian))
                return connection.recv(1)[0]

        assert first_answer() == REJECTED
        path.with_suffix(".new").write_text(PEER.replace('"FEW"', '"BENCH"'))
        path.with_suffix(".new").replace(path)

        # Either process may accept a call, so many calls in a row must all get the new answer.
        wait_for(lambda: all(first_answer() == ACCEPTED for _ in range(8)), every_s=0.2)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.255.255.1", ""])  # noqa: S104
def test_the_gateway_refuses_to_listen_to_a_network_without_tls(host: str) -> None:
    with command({"FLUORO_DIMSE_HOST": host}) as process:
        _, said = process.communicate(timeout=WAIT_S)

    assert process.returncode == 2
    assert said.count("\n") == 1
    assert said.startswith("FLUORO_DIMSE_HOST: ")
    assert "FLUORO_DIMSE_TLS_CERTIFICATE" in said
    assert "FLUORO_DIMSE_PLAINTEXT_PUBLIC=1" in said


def test_with_plaintext_public_only_callers_from_this_machine_are_accepted(tmp_path: Path) -> None:
    with started(tmp_path, FLUORO_DIMSE_HOST="0.0.0.0", FLUORO_DIMSE_PLAINTEXT_PUBLIC="1") as gateway:  # noqa: S104
        association = caller("SENDER").associate("127.0.0.1", gateway.port)
        assert association.is_established
        association.release()


def test_mistakes_in_peers_and_certificates_are_all_named_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "peers.toml"
    path.write_text(PEER.replace("local", "No Tenant").replace('"echo"', '"all"'))
    env = {
        "FLUORO_DIMSE_HOST": "192.0.2.1",
        "FLUORO_DIMSE_PEERS_FILE": str(path),
        "FLUORO_DIMSE_TLS_KEY": str(tmp_path / "absent.key"),
    }
    with command(env) as process:
        _, said = process.communicate(timeout=WAIT_S)

    assert process.returncode == 2
    assert [line.split(" ")[0] for line in said.splitlines()] == [
        "FLUORO_DIMSE_HOST:",
        f"{path}:",
        f"{path}:",
        "FLUORO_DIMSE_TLS_CERTIFICATE",
    ]


def test_mistakes_in_settings_are_all_named_at_once() -> None:
    with command(BROKEN) as process:
        _, said = process.communicate(timeout=WAIT_S)

    assert process.returncode == 2
    assert {line.split(":")[0] for line in said.splitlines()} == set(BROKEN)


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("--no-such", 2)])
def test_help_names_the_program(argument: str, code: int) -> None:
    with command({}, argument) as process:
        said, complained = process.communicate(timeout=WAIT_S)

    assert process.returncode == code
    assert "python -m gateway" in said + complained


CYCLES = """
import gc, weakref
from gateway.__main__ import freeze_what_is_loaded

class Node:
    pass

def cycle():
    node = Node()
    node.self = node
    return weakref.ref(node)

freeze_what_is_loaded()
walked = len(gc.get_objects())
# As in a process that runs on: each is found by a collection that nobody asked for.
cycles = [cycle() for _ in range(1_000)]
kept = [[] for _ in range(100_000)]
print(walked, sum(one() is not None for one in cycles[:100]))
"""


def test_collections_of_garbage_leave_out_the_modules_and_find_later_cycles() -> None:
    done = subprocess.run([sys.executable, "-c", CYCLES], cwd=ROOT, capture_output=True, text=True, check=True)

    walked, uncollected = map(int, done.stdout.split())
    assert walked < 1_000
    assert uncollected == 0
