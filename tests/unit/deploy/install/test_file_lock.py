"""One installer at a time holds a lock; the orphans of a killed installer keep the lock until they have ended."""

import subprocess
import threading
from pathlib import Path

from deploy.install.file_lock import locked


def silent(_: str) -> None:
    return None


def test_an_orphaned_child_keeps_the_lock_until_it_ends(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    waits = threading.Event()
    with locked(lock, silent) as descriptor:
        orphan = subprocess.Popen(["sleep", "600"], pass_fds=(descriptor,))

    def next_one() -> None:
        with locked(lock, lambda _: waits.set()):
            pass

    thread = threading.Thread(target=next_one)
    thread.start()
    waited = waits.wait(20)
    orphan.kill()
    orphan.wait()
    thread.join(20)

    assert waited
    assert not thread.is_alive()
