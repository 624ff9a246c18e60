"""A small disk is full when it is, and no killed run of tests leaves one behind."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.faults.small_disk import fill, small_disk, used_bytes

ROOT = Path(__file__).parents[3]
DISK_BYTES = 2**20
MOUNTS = """
import sys
from pathlib import Path
from tests.support.faults.small_disk import small_disk
with small_disk(Path(sys.argv[1]), 2**20):
    print(Path(sys.argv[1]).is_mount(), flush=True)
    sys.stdin.read()
"""


def test_a_small_disk_has_no_room_once_it_is_filled(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", DISK_BYTES):
        filler = fill(tmp_path / "disk")
        filled = used_bytes(tmp_path / "disk")
        filler.unlink()
        emptied = used_bytes(tmp_path / "disk")

    assert (filled, emptied) == (DISK_BYTES, 0)
    assert not os.path.ismount(tmp_path / "disk")


def test_the_disk_of_a_killed_process_is_gone_with_it(tmp_path: Path) -> None:
    with small_disk(tmp_path / "ours", DISK_BYTES):
        command = [sys.executable, "-c", MOUNTS, str(tmp_path / "theirs")]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout
            told = other.stdout.readline()
            other.kill()

    assert told == "True\n"
    (tmp_path / "theirs").rmdir()
