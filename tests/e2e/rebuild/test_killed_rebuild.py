"""A rebuild that is killed goes on where it was: a real process, a real store and a real broker."""

import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deploy.local.running import wait_until
from pipelines.batch.journal import Finished, JournalReader
from schemas.events import InstanceStored
from schemas.settings.reading import load
from schemas.settings.servers import BrokerSettings
from schemas.topics import INSTANCE_STORED
from tests.support.data.generate import Volume, files
from tests.support.faults.proxy import Fault, proxied
from tests.support.machine.running_stack import environment_without_settings
from tests.support.proof import Proof
from tests.support.servers.records import records

ROOT = Path(__file__).parents[3]
STUDIES, SLICES = 8, 3
SOON_S = 120.0
# Each answer of the store comes so much later, and objects are read one by one: most studies are left when it is killed.
SLOWLY = Fault(delay_s=0.05)


def rebuild(proof: Proof, store_port: int, run: str, since: datetime) -> "subprocess.Popen[str]":
    """Start the command for what the store took since then, by way of another port of the store."""
    settings = proof.archive.plan.settings("writer")
    settings |= {"FLUORO_STORE_ENDPOINT": f"http://127.0.0.1:{store_port}", "FLUORO_BATCH_AT_ONCE": "1"}
    command = (sys.executable, "-m", "pipelines.batch.rebuild", "--run", run, "--stored-from", since.isoformat())
    environment = environment_without_settings() | settings
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def published(proof: Proof) -> Counter[tuple[str, str]]:
    """Return how often the event of each instance, by study and UID, is in the topic."""
    found = records(load(BrokerSettings, proof.archive.env), INSTANCE_STORED)
    events = (one.event for one in found if isinstance(one.event, InstanceStored))
    return Counter((event.study_uid, event.sop_uid) for event in events)


def finished(folder: Path) -> set[str]:
    """Return the prefixes that a run's journal names as finished."""
    return {entry.prefix for entry in JournalReader(folder).read() if isinstance(entry, Finished)}


def test_a_rebuild_that_is_killed_goes_on_and_repeats_one_study_at_most(proof: Proof, tmp_path: Path) -> None:
    # The store dates objects to the second, and no other test sends anything meanwhile.
    since = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)
    wait_until(lambda: datetime.now(UTC) >= since, SOON_S, "the clock stands still")
    assert proof.send(list(files(Volume(studies=STUDIES, slices=SLICES, size=16, seed=1405), tmp_path))).complete
    before, run = published(proof), f"killed-{time.monotonic_ns()}"
    folder, port = proof.archive.plan.batch.runs_dir / run, proof.archive.plan.ports["minio"]
    with proxied(port) as proxy:
        proxy.fault = SLOWLY
        with rebuild(proof, proxy.port, run, since) as killed:
            wait_until(lambda: len(finished(folder)) > 1, SOON_S, "no study is finished")
            killed.kill()
            assert killed.wait() == -signal.SIGKILL
    done = finished(folder)

    with rebuild(proof, port, run, since) as again:
        _, told = again.communicate(timeout=SOON_S)

    assert again.returncode == 0, told
    times = published(proof) - before
    repeated = {f"local/{study}/" for (study, _), count in times.items() if count > 1}
    assert len(times) == STUDIES * SLICES
    assert len(repeated) <= 1
    assert not repeated & done
