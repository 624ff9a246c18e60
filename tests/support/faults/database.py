"""Faults of the catalog's database: each function returns when its fault is over."""

from deploy.local.running import RunningStack


def killed(stack: RunningStack) -> None:
    """Kill the server, as a failure of its machine does; the supervisor starts it again."""
    stack.kill("postgres")
