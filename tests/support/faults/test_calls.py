"""The calls of a process are read in their order, with what they moved and where to, whatever threads come between."""

import subprocess
import sys
from pathlib import Path

from tests.support.faults.calls import calls, traced

# Threads that wait for each other's bytes, so that their calls are broken in two.
PROGRAM = """
import os, socket, sys, threading
sys.stdin.readline()
one, other = socket.create_server(("127.0.0.1", 0)), socket.socket()
other.connect(one.getsockname())
peer, _ = one.accept()
waiting = threading.Thread(target=lambda: peer.recv(100))
waiting.start()
with open(sys.argv[1], "wb", buffering=0) as file:
    file.write(b"first")
    other.sendall(b"\\0\\1second")
    waiting.join()
    file.write(b"third")
"""


def test_calls_are_read_in_order(tmp_path: Path) -> None:
    file = tmp_path / "file"
    program = [sys.executable, "-c", PROGRAM, str(file)]
    with (
        subprocess.Popen(program, stdin=subprocess.PIPE, text=True) as process,
        traced(process.pid, tmp_path / "calls"),
    ):
        process.communicate("\n", timeout=60)
    found = calls(tmp_path / "calls")
    moved = [call for call in found if str(file) in call.file or "TCP:[127" in call.file]

    assert [call.sends for call in moved] == [True, True, False, True]
    assert ['"first"' in moved[0].text, '"third"' in moved[3].text] == [True, True]
    assert {call.file.partition("<")[2].count("127.0.0.1:") for call in moved[1:3]} == {2}
    assert [r'"\x00\x01\x73\x65' in call.text for call in moved[1:3]] == [True, True]
