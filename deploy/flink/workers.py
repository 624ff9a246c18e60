"""The processes that run the Python of jobs in process mode. They are descendants of the JVM.

Flink notices that such a worker has died only when the next record reaches it. An idle job would fail then, and that
record would wait for the restart; until then the job is shown as running.
"""

from dataclasses import dataclass
from pathlib import Path

from deploy.local.supervision import processes
from deploy.local.supervision.processes import PROC, Process

BOOT = b"pyflink.fn_execution.beam.beam_boot"
# Flink may notice the death itself; then the job does not run any more at one of these looks, a second apart. Flink keeps
# its answers about a job for three seconds.
LOOKS = 4


def python_workers(machine_pid: int) -> tuple[Process, ...]:
    """Return the workers below the JVM that are alive."""
    family = (stat.process for stat in processes.family([processes.identify(machine_pid)]))
    return tuple(process for process in family if BOOT in _arguments(process))


def _arguments(process: Process) -> tuple[bytes, ...]:
    try:
        return tuple(Path(PROC, str(process.pid), "cmdline").read_bytes().split(b"\0"))
    except OSError:
        return ()


@dataclass
class WorkerWatch:
    """Whether jobs that run still have all their workers, from one look to the next."""

    was_complete: bool = False
    looks_without: int = 0

    def is_lost(self, found: int, expected: int, *, all_run: bool) -> bool:
        """True if LOOKS looks in a row have found fewer workers than expected, though there were enough before.

        A job that does not run, or that never had the expected number, is none of this watch's business.
        """
        if not all_run:
            self.looks_without = 0
            return False
        if found >= expected:
            self.was_complete, self.looks_without = True, 0
            return False
        self.looks_without += 1
        return self.was_complete and self.looks_without >= LOOKS
