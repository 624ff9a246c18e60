"""The data folder of one stack: what lies where, its lock, its ports, its secrets, and who runs in it now."""

import fcntl
import json
import os
import pwd
import random
import secrets
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from deploy.install import preflight
from deploy.install.steps import Failed
from deploy.local import processes
from deploy.local.processes import Process

SYSTEM_DATA = Path("/var/lib/fluoro")
# Below Linux's range for outgoing connections, so that none of those sits on a server's port at the next start.
FREE_PORTS = range(20000, 32000)
MARKER = "fluoro-data"
# How long a watchdog may have the folder, to end what a killed supervisor has left.
HELD_S = processes.GONE_S + 2.0


@dataclass(frozen=True)
class Place:
    """A data folder."""

    root: Path

    @property
    def lock(self) -> Path:
        """Held by the supervisor that runs here."""
        return self.root / "lock"

    @property
    def state(self) -> Path:
        """Who runs here, in which run; see State."""
        return self.root / "state.json"

    @property
    def ports(self) -> Path:
        """The ports that were chosen at the first start."""
        return self.root / "ports.json"

    def temporary(self) -> tuple[Path, ...]:
        """Return the folders whose contents no run needs from the one before."""
        return (self.root / "tmp", self.root / "flink" / "tmp")

    def sweep_files(self) -> None:
        """Delete what a run has left in them."""
        for folder in self.temporary():
            empty(folder)

    def make(self) -> None:
        """Make the folder; raises Failed when it is somebody else's, or cannot be one."""
        try:
            self._make()
        except OSError as error:
            raise Failed(
                f"{self.root} cannot hold data ({error.strerror}): set FLUORO_DATA to another folder"
            ) from error

    def _make(self) -> None:
        if self.root.exists() and any(self.root.iterdir()) and not self.is_ours():
            raise Failed(f"{self.root} is not empty and not a data folder of ours: set FLUORO_DATA to another one")
        self.root.mkdir(parents=True, exist_ok=True)
        # The database's user passes through; what lies inside is closed one by one.
        self.root.chmod(0o755)
        (self.root / MARKER).touch()
        for name in ("tmp", "logs", "secrets", "outbox", "spool", "checkpoints", "kafka", "minio"):
            (self.root / name).mkdir(mode=0o700, exist_ok=True)

    def secret(self, name: str) -> str:
        """Return a secret of this stack, made at random when first asked for."""
        path = self.root / "secrets" / name
        if not path.exists():
            partial = path.with_suffix(".partial")
            partial.unlink(missing_ok=True)
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(24))
            partial.rename(path)
        return path.read_text()

    def is_ours(self) -> bool:
        """True if this is a data folder that we have made."""
        return (self.root / MARKER).exists()

    def remove(self) -> None:
        """Delete all data."""
        shutil.rmtree(self.root)


def postgres_account() -> pwd.struct_passwd | None:
    """Return the user that PostgreSQL runs as when we are root; None when that is ourselves, or it is still to be made."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("fluoro")
    except KeyError:
        return None


def choose(environ: Mapping[str, str], root: Path) -> tuple[Place, str | None]:
    """Choose the data folder: FLUORO_DATA, else .data in the repository, with a line when it had to be another."""
    if chosen := environ.get("FLUORO_DATA"):
        return Place(Path(chosen).expanduser().absolute()), None
    usual = root / ".data"
    if os.geteuid() != 0:
        return Place(usual), None
    account = postgres_account()
    uid, gids = (account.pw_uid, [account.pw_gid]) if account else (-1, [])
    blocked = preflight.unreachable_parent(usual, uid, gids)
    if blocked is None:
        return Place(usual), None
    return Place(SYSTEM_DATA), f"Data go to {SYSTEM_DATA}: the database does not run as root, nor enter {blocked}"


@contextmanager
def held(place: Place, *, is_ending: bool = False) -> Iterator[None]:
    """Hold the folder for one supervisor; raises Failed when another one has it and keeps it.

    One that is known to be ending may look alive, and hold the folder, for a moment more.
    """
    with place.lock.open("a") as file:
        deadline = time.monotonic() + HELD_S
        while not lock(file):
            state = State.read(place.state)
            is_kept = not is_ending and state is not None and state.supervisor.alive()
            if is_kept or time.monotonic() > deadline:
                raise Failed(f"a stack runs on {place.root}: stop it, or set FLUORO_DATA to another folder")
            time.sleep(0.05)
        yield


def lock(file: IO[str]) -> bool:
    """Lock a file unless another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def ports(place: Place, wanted: Mapping[str, int], widths: Mapping[str, int]) -> dict[str, int]:
    """Return each named port, 0 meaning a free one; a free one once chosen is kept for the next start.

    A name with a width has that many ports in a row, beginning with its own; where they have become more, and reach
    another's, it is given others.
    """
    kept = json.loads(place.ports.read_text()) if place.ports.exists() else {}

    def row(name: str, first: int) -> range:
        return range(first, first + widths.get(name, 1))

    chosen = sorted((name for name, port in wanted.items() if not port), key=lambda name: -widths.get(name, 1))
    for name in chosen:
        others = [one for them in (wanted, kept) for one in them.items() if one[0] != name]
        taken = {port for other, first in others for port in row(other, first)}
        if name not in kept or taken.intersection(row(name, kept[name])):
            kept[name] = free_port(taken, widths.get(name, 1))
    write_json(place.ports, kept)
    return {name: port or kept[name] for name, port in wanted.items()}


def free_port(taken: Collection[int], width: int = 1) -> int:
    """Return a port that nobody listens on, nor on the ones that follow."""

    def free(port: int) -> bool:
        return port not in taken and preflight.port_free(port)

    candidates = random.sample(FREE_PORTS, 200)
    return next(first for first in candidates if all(map(free, range(first, first + width))))


@dataclass(frozen=True)
class Running:
    """One server now."""

    process: Process
    healthy: bool
    starts: int


@dataclass(frozen=True)
class State:
    """Who runs in a data folder: the run's mark, its supervisor, its servers, whether everything is ready.

    `about` is what whoever started it wants others to know: ports, settings.
    """

    run: str
    boot: str
    supervisor: Process
    servers: Mapping[str, Running]
    ready: bool = False
    about: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Keep it where others look."""
        servers = {name: [s.process.pid, s.process.started, s.healthy, s.starts] for name, s in self.servers.items()}
        head = [self.supervisor.pid, self.supervisor.started]
        record = {"run": self.run, "boot": self.boot, "supervisor": head, "servers": servers, "ready": self.ready}
        write_json(path, record | {"about": self.about})

    @classmethod
    def read(cls, path: Path) -> "State | None":
        """Read it back; None when there is none, or it is from before the system's start. Raises Failed."""
        try:
            record = json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Failed(
                f"{path.parent} cannot be read ({error.strerror}): set FLUORO_DATA to a data folder"
            ) from error
        if record["boot"] != processes.boot():
            return None
        servers = {name: Running(Process(pid, at), *rest) for name, (pid, at, *rest) in record["servers"].items()}
        head = Process(*record["supervisor"])
        return cls(record["run"], record["boot"], head, servers, record["ready"], record["about"])


def sweep(place: Place) -> int:
    """End what a killed run has left, and delete its temporary files; how many processes that were.

    Called with the folder held, so that whatever still runs from it has no supervisor.
    """
    state = State.read(place.state)
    left = set()
    if state:
        heads = [server.process for server in state.servers.values()]
        left = {stat.process for stat in processes.family(heads)} | set(processes.marked(f"{state.run}/"))
        if stuck := processes.end(heads, f"{state.run}/"):
            raise Failed(f"process {stuck[0].pid} of an earlier run does not end: end it by hand")
    place.state.unlink(missing_ok=True)
    place.sweep_files()
    return len(left)


def empty(folder: Path) -> None:
    """Delete everything in a folder; what vanishes meanwhile is fine."""
    for entry in folder.iterdir() if folder.exists() else ():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def write_json(path: Path, record: object) -> None:
    """Replace a file as a whole."""
    partial = path.with_name(f"{path.name}.partial")
    partial.touch(mode=0o600)
    partial.write_text(json.dumps(record))
    partial.rename(path)
