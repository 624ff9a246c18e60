"""How much memory a process holds, and at most while something happens."""

import threading
from pathlib import Path
from typing import Self


def anonymous_bytes(pid: int) -> int:
    """Return the anonymous memory (RssAnon) of a process: what it has allocated, without files and shared memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


class MemoryWatch:
    """The most anonymous memory that a process held during a block, in bytes."""

    def __init__(self, pid: int) -> None:
        self.most_bytes = 0
        self._pid = pid
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            self.most_bytes = max(self.most_bytes, anonymous_bytes(self._pid))
