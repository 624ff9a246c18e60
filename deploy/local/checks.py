"""Check before a start that everything is installed, and that memory, ports and folders are available."""

from deploy.errors import Failed
from deploy.install import layout, preflight
from deploy.install.components import flink_home
from deploy.install.layout import Layout
from deploy.local.servers import postgres_account
from deploy.local.stack import Stack
from pipelines.jobs import JOBS
from pipelines.launch import checkpoints, losses, resharding
from pipelines.launch.checkpoints import OtherState

# The names of the servers that people connect to, in place of the names of their ports.
PORT_NAMES = {"dimse": "DIMSE", "web": "web", "flink": "Flink UI"}


def missing(here: Layout) -> tuple[str, ...]:
    """Return the names of what is not installed, or was made from older sources; empty when the stack can start."""
    absent = here.missing()
    return absent if absent or flink_home.is_current(here) else ("Flink's run folder, whose sources changed",)


def check_installed() -> Layout:
    """Return the layout of this clone; raises Failed when something is not installed."""
    here = layout.here()
    if absent := missing(here):
        raise Failed(f"not installed: {', '.join(absent)}. Run: make install")
    return here


def check_start(stack: Stack) -> None:
    """Raise Failed with everything that would stop a start, a line each."""
    own = {name: port for name, port in stack.ports.items() if stack.with_jobs or name != "flink"}
    ports = {PORT_NAMES.get(name, name): port for name, port in own.items()}
    account = postgres_account.existing()
    user = (account.pw_uid, [account.pw_gid]) if account else None
    obstacles = preflight.before_start(stack.folder.root, ports, postgres_user=user)
    if obstacles:
        raise Failed("\n".join(map(str, obstacles)))


def check_jobs(stack: Stack) -> None:
    """Raise SettingsError or Failed when the jobs cannot run with these settings, or not on the state that is there."""
    for job in JOBS if stack.with_jobs else ():
        resharding.check_parallelism(job, stack.job)
        try:
            if not losses.is_marked(job, stack.job):
                checkpoints.complete(checkpoints.folder_of(job, stack.job))
        except OtherState as error:
            raise Failed(str(error)) from None
