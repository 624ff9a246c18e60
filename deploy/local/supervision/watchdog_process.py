"""The process of the watchdog, which its supervisor starts again whenever it dies."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from deploy.local.supervision import processes
from deploy.local.supervision.programs import ROOT
from deploy.local.supervision.stack_state import ServerState
from operators.restarts import Restarts

DISMISSED_WITHIN_S = 5.0
SCRIPT = ROOT / "deploy" / "local" / "supervision" / "watchdog.py"


class WatchdogProcess:
    """The watchdog of one run. It is not tied to its supervisor, whose death it must survive."""

    def __init__(self, run_id: str, folder: Path) -> None:
        self._command = (sys.executable, "-I", "-S", str(SCRIPT), run_id, str(folder))
        self._restarts = Restarts()
        self._began = 0.0
        self._popen: asyncio.subprocess.Process | None = None
        self.state: ServerState | None = None

    async def start(self) -> None:
        """Start the first watchdog, or another in place of a dead one."""
        self._restarts.starts, self._began = self._restarts.starts + 1, time.monotonic()
        self._popen = popen = await asyncio.create_subprocess_exec(
            *self._command, stdin=subprocess.PIPE, start_new_session=True
        )
        self.state = ServerState(processes.identify(popen.pid), is_healthy=True, starts=self._restarts.starts)

    async def keep(self, report: Callable[[str], None]) -> None:
        """Start another watchdog whenever it dies, and report each; never returns."""
        while self._popen:
            status = await self._popen.wait()
            self._restarts.add(time.monotonic() - self._began, was_healthy=True)
            await asyncio.sleep(self._restarts.wait_s())
            try:
                await self.start()
            except OSError as error:
                report(f"no watchdog runs ({error.strerror}); it is tried again")
                continue
            how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
            report(f"the watchdog {how}; another runs")

    async def dismiss(self) -> None:
        """End the watchdog without a cleanup: its supervisor has stopped everything itself."""
        if not self._popen:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._popen.communicate(b"."), DISMISSED_WITHIN_S)
        with suppress(ProcessLookupError):
            self._popen.kill()
        await self._popen.wait()
