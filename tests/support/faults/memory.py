"""How much memory a process holds, and at most while something happens."""

import threading
from pathlib import Path
from typing import Self


def memory_bytes(name: str, pid: int | None = None) -> int:
    """Return a figure of a process's memory, this one's by default, by its name in proc(5): VmHWM, RssAnon."""
    lines = Path(f"/proc/{pid or 'self'}/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


def anonymous_bytes(pid: int) -> int:
    """Return the anonymous memory (RssAnon) of a process: what it has allocated, without files and shared memory."""
    return memory_bytes("RssAnon", pid)


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
