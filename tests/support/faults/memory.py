"""How much memory a process holds at most while something happens."""

import threading
from pathlib import Path
from typing import Self

import psutil


class MemoryWatch:
    """The most anonymous memory (RssAnon) that a process held during a block, in bytes."""

    def __init__(self, process: psutil.Process) -> None:
        self.most_bytes = 0
        self._status = Path(f"/proc/{process.pid}/status")
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
            line = next(line for line in self._status.read_text().splitlines() if line.startswith("RssAnon"))
            self.most_bytes = max(self.most_bytes, 1024 * int(line.split()[1]))
