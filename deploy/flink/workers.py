"""The processes that run the Python of jobs in process mode. They are descendants of the JVM.

Flink notices that such a worker has died only when the next record reaches it. An idle job would fail then, and that
record would wait for the restart; until then the job is shown as running.
"""

from dataclasses import dataclass
from pathlib import Path

from deploy.local.supervision import processes
from deploy.local.supervision.processes import PROC, Process

BOOT = b"pyflink.fn_execution.beam.beam_boot"
# Flink may notice the death itself; then the job does not run any more at the second of these looks: they are further
# apart than the three seconds for which Flink keeps its answers about a job.
LOOKS = 2


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
    """Whether jobs that run have all their workers, from one look to the next.

    `fruitless` counts the losses since all workers were last there: jobs that are submitted again and still lack workers
    must not be submitted for ever at the same pace.
    """

    looks_without: int = 0
    fruitless: int = 0

    def is_lost(self, found: int, expected: int, *, all_run: bool) -> bool:
        """True if LOOKS looks in a row have found fewer workers than expected, or twice as many for each fruitless loss.

        While a job does not run, Flink is at work itself, and the count begins again.
        """
        self.looks_without = self.looks_without + 1 if all_run and found < expected else 0
        if all_run and found >= expected:
            self.fruitless = 0
        is_lost = self.looks_without >= LOOKS << self.fruitless
        if is_lost:
            self.looks_without, self.fruitless = 0, self.fruitless + 1
        return is_lost
