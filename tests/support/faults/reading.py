"""A client that asks for studies again and again while something fails, and remembers what it was told."""

import threading
from collections import Counter
from typing import Self

import httpx

from deploy.local.running import RunningStack

PAUSE_S = 0.2
ANSWER_S = 30.0


class Reading:
    """Queries in a thread for the block: the statuses of their answers; 0 where the connection was lost."""

    def __init__(self, stack: RunningStack) -> None:
        self.statuses = Counter[int]()
        self._url = f"{stack.api_url}/dicomweb/studies?limit=10"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _read(self) -> None:
        with httpx.Client(timeout=ANSWER_S) as client:
            while not self._over.wait(PAUSE_S):
                try:
                    self.statuses[client.get(self._url).status_code] += 1
                except httpx.TransportError:
                    self.statuses[0] += 1
