"""The lines that people read about a stack: its addresses, its memory, the state of its servers."""

from deploy.install.disk import MB
from deploy.local.running import RunningStack
from deploy.local.stack import Stack
from deploy.local.supervision.stack_state import StackState


def say(line: str) -> None:
    """Print a line and flush it."""
    print(line, flush=True)


def addresses(stack: Stack) -> list[str]:
    """Return the addresses that people use, a line each."""
    return [
        f"  DIMSE     {stack.dimse.host} port {stack.dimse.port}, AE title {stack.dimse.ae_title}",
        f"  DICOMweb  {dicomweb_url(stack)}",
        f"  Kafka     {stack.broker.bootstrap}",
        f"  Catalog   PostgreSQL on {stack.catalog('reader').host} port {stack.catalog('reader').port}",
        f"  Store     {stack.store.endpoint}",
        f"  Flink UI  http://127.0.0.1:{stack.job.rest_port}",
        f"  Metrics   listed in {stack.folder.metric_targets}",
    ]


def dicomweb_url(stack: Stack) -> str:
    """Return the base URL of the DICOMweb service."""
    return f"http://{stack.api.host}:{stack.api.port}/dicomweb"


def memory(running: RunningStack) -> str:
    """Return a line that says how much memory the servers hold."""
    held = running.rss_bytes()
    parts = ", ".join(f"{name} {amount / MB:.0f}" for name, amount in held.items())
    return f"  memory    {sum(held.values()) / MB:.0f} MB resident ({parts})"


def servers(state: StackState) -> list[str]:
    """Return a line for each server, and one for the watchdog."""
    watchdog = {"watchdog": state.watchdog} if state.watchdog else {}
    return [
        f"  {name:<10}{'healthy' if server.is_healthy else 'not healthy'}, process {server.process.pid},"
        f" started {times(server.starts)}"
        for name, server in ({**state.servers, **watchdog}).items()
    ]


def times(count: int) -> str:
    """Return a count in words: never, once, 2 times."""
    return {0: "never", 1: "once"}.get(count, f"{count} times")


def problems(state: StackState) -> list[str]:
    """Return a problem for each server that is not healthy."""
    return [f"{name} is not healthy" for name, server in state.servers.items() if not server.is_healthy]
