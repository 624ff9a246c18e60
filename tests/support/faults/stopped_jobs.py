"""The JVM of the jobs, held still: what lies on the disk can be changed before the next one starts from it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.local.running import RunningStack, wait_until
from tests.support.kills.victims import machines

# A JVM, its cluster and the jobs start anew; twice the longest that was measured.
RECOVERY_S = 60.0


@contextmanager
def killed_jobs(stack: RunningStack) -> Iterator[None]:
    """Hold the jobs still for the block, and kill them at its end."""
    before = stack.state().servers["flink"]
    (machine,) = machines(stack)
    machine.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        machine.kill()
    wait_until(lambda: stack.has_changed("flink", before), RECOVERY_S, "nobody sees that the jobs' JVM was killed")


def wait_for_jobs(stack: RunningStack) -> None:
    """Wait until the jobs run again."""
    stack.wait_healthy("flink", RECOVERY_S)
