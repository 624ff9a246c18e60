"""The states of the jobs, as the REST API of a Flink cluster reports them."""

import asyncio
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

from operators.errors import Unavailable

# Shorter than the limit of a readiness check, which must not fail because this cluster is slow.
ANSWER_S = 1.0
MOST_BYTES = 2**20
# How long an answer is used again: anyone may ask for readiness, and each would ask the cluster.
FRESH_S = 1.0
MISSING = "missing"


class FlinkJobs:
    """The jobs of one cluster that should run."""

    def __init__(
        self,
        url: str,
        names: Sequence[str],
        answer_s: float = ANSWER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._overview = f"{url.rstrip('/')}/jobs/overview"
        self._names = tuple(names)
        self._timeout = ClientTimeout(total=answer_s)
        self._clock = clock
        self._states: dict[str, str] = {}
        self._asked_at = -math.inf
        self._asking = asyncio.Lock()

    async def states(self) -> dict[str, str]:
        """Return the state of each job's newest run, as of FRESH_S ago at most.

        The state is `running` if all tasks run, and `missing` if there is no run. Raises Unavailable when the cluster does
        not answer in time, or not as a Flink cluster does.
        """
        async with self._asking:
            if self._clock() - self._asked_at > FRESH_S:
                self._states = await self._ask()
                self._asked_at = self._clock()
        return dict(self._states)

    async def _ask(self) -> dict[str, str]:
        try:
            entries = sorted(json.loads(await self._get())["jobs"], key=lambda entry: int(entry["start-time"]))
            found = {str(entry["name"]): _state(entry) for entry in entries}
        except (ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
            raise Unavailable("jobs") from error
        return {name: found.get(name, MISSING) for name in self._names}

    async def _get(self) -> bytes:
        # Only the address of the settings is asked: a redirect is no answer.
        async with (
            ClientSession(timeout=self._timeout) as session,
            session.get(self._overview, allow_redirects=False, raise_for_status=True) as response,
        ):
            return await response.content.read(MOST_BYTES)


def _state(entry: Mapping[str, Any]) -> str:
    state, tasks = str(entry["state"]).lower(), entry["tasks"]
    return "starting" if state == "running" and tasks["running"] != tasks["total"] else state
