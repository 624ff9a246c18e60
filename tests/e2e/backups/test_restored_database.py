"""The catalog's database is replaced by a backup: everything acknowledged is shown again, and revisions are right."""

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.install import layout
from deploy.local.data_folder import DataFolder
from deploy.local.running import RunningStack, brought_up, wait_until
from tests.audit.auditor import audit
from tests.audit.ledger import Ledger
from tests.conftest import absent
from tests.support.data.generate import Volume, files
from tests.support.machine.running_stack import address_of, environment_without_settings
from tests.support.senders.sender import Peer, Tally, send
from tests.support.servers.database_backup import back_up, replace_database
from tests.support.servers.reading import wait_until_all_is_read

INSTANCES = int(os.environ.get("FLUORO_TEST_INSTANCES", "120"))
SOON_S = 120.0
BOUND_S = 240.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder that the database's user can reach, unlike pytest's own folders."""
    if missing := layout.here().missing():
        absent(f"not installed: {', '.join(missing)}; run make install")
    made = Path(tempfile.mkdtemp(prefix="fluoro-restored-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


class Load:
    """Studies that are sent by a thread, and counted as they are acknowledged."""

    def __init__(self, stack: RunningStack, ledger: Ledger, paths: list[Path]) -> None:
        self._ledger, self._before = ledger.path, acknowledged(ledger.path)
        self._tallies: list[Tally] = []
        self._thread = threading.Thread(
            target=lambda: self._tallies.append(send(paths, Peer(stack.dimse_port), ledger)), daemon=True
        )
        self._thread.start()

    def wait_for(self, count: int) -> None:
        """Wait until so many of its instances are acknowledged."""
        wait_until(lambda: acknowledged(self._ledger) - self._before >= count, SOON_S, "the load does not go on")

    def finish(self) -> None:
        """Wait until everything is acknowledged."""
        self._thread.join(BOUND_S)
        assert [tally.complete for tally in self._tallies] == [True]


def acknowledged(ledger: Path) -> int:
    return ledger.read_text().count('"acked"') if ledger.exists() else 0


def begun_again(stack: RunningStack) -> list[dict[str, Any]]:
    """Return the lines in which the launcher says that the catalog job begins again."""
    lines = (stack.logs / "flink.log").read_text().splitlines()
    logged = map(json.loads, filter(lambda line: line.startswith("{"), lines))
    return [line for line in logged if line["event"] == "job_begins_again" and line["job"] == "catalog"]


def test_a_database_restored_from_a_backup_of_mid_load_is_complete_again_without_a_human(
    folder: Path, tmp_path: Path
) -> None:
    kept = environment_without_settings()
    settings = kept | {"FLUORO_STUDY_RELEASED_S": "1", "FLUORO_CHECKPOINT_S": "1"}
    up = brought_up(DataFolder(folder / "data"), settings, options=["--free-ports"], out=folder / "up.log")
    loads = [
        files(Volume(studies=4, slices=INSTANCES // 4, size=32, seed=200 + number), tmp_path / str(number))
        for number in range(2)
    ]
    late = files(Volume(studies=1, slices=8, size=32, seed=300), tmp_path / "late")
    with up as stack, Ledger(tmp_path / "sent.jsonl") as ledger:
        first = Load(stack, ledger, loads[0])
        first.wait_for(INSTANCES // 3)
        back_up(stack, folder / "backup")
        first.finish()
        # However long the backup has taken, the jobs' state is ahead of it.
        Load(stack, ledger, late).finish()
        before = audit(address_of(stack), [ledger.path], wait_s=SOON_S)
        wait_until_all_is_read(stack)
        second = Load(stack, ledger, loads[1])
        second.wait_for(INSTANCES // 3)
        replace_database(stack, folder / "backup", folder / "first")
        second.finish()
        under_load = audit(address_of(stack), [ledger.path], wait_s=BOUND_S, restored=True)
        once = len(begun_again(stack))
        wait_until_all_is_read(stack)
        # Now nothing is sent, and no flush can notice it.
        replace_database(stack, folder / "backup", folder / "second")
        idle = audit(address_of(stack), [ledger.path], wait_s=BOUND_S, restored=True)
        twice = len(begun_again(stack))

    assert before.clean, before.line
    assert under_load.clean, under_load.line
    assert (once, twice) == (1, 2), idle.line
    assert idle.clean, idle.line
