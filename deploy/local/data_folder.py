"""The data folder of one stack: the paths of its files, how the folder is chosen and made, and its secrets.

Standard library only: the watchdog and the script that creates the database start without the environment.
"""

import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.errors import Failed
from deploy.install import layout, preflight
from deploy.local.servers import postgres_account

SYSTEM_DATA = Path("/var/lib/fluoro")
MARKER = "fluoro-data"
SUBFOLDERS = ("tmp", "logs", "secrets", "outbox", "spool", "checkpoints", "kafka", "minio")


@dataclass(frozen=True)
class DataFolder:
    """A folder that holds everything that one stack stores."""

    root: Path

    @property
    def lock(self) -> Path:
        """The file that the supervisor of this folder keeps locked."""
        return self.root / "lock"

    @property
    def state(self) -> Path:
        """The file with the running stack's StackState."""
        return self.root / "state.json"

    @property
    def ports(self) -> Path:
        """The file with the ports that were chosen at the first start."""
        return self.root / "ports.json"

    @property
    def metric_targets(self) -> Path:
        """The file by which Prometheus finds the metrics of the stack."""
        return self.root / "metrics-targets.json"

    @property
    def logs(self) -> Path:
        """The folder with one log per program."""
        return self.root / "logs"

    def log(self, program: str) -> Path:
        """Return the log of a program."""
        return self.logs / f"{program}.log"

    def temporary(self) -> tuple[Path, ...]:
        """Return the folders whose contents are not needed after the run that wrote them."""
        return (self.root / "tmp", self.root / "flink" / "tmp")

    def delete_temporary_files(self) -> None:
        """Delete the contents of the temporary folders."""
        for folder in self.temporary():
            empty(folder)

    def make(self) -> None:
        """Make the folder; raises Failed when the path cannot be a folder, or holds files of somebody else."""
        try:
            self._make()
        except OSError as error:
            raise Failed(
                f"{self.root} cannot hold data ({error.strerror}): set FLUORO_DATA to another folder"
            ) from error

    def _make(self) -> None:
        if self.root.exists() and any(self.root.iterdir()) and not self.is_data_folder():
            raise Failed(f"{self.root} is not empty and not a data folder: set FLUORO_DATA to another folder")
        self.root.mkdir(parents=True, exist_ok=True)
        # PostgreSQL's user has to pass through this folder; each folder inside has its own mode.
        self.root.chmod(0o755)
        (self.root / MARKER).touch()
        for name in SUBFOLDERS:
            (self.root / name).mkdir(mode=0o700, exist_ok=True)

    def secret(self, name: str) -> str:
        """Return a secret of this stack, which is made at random at the first call."""
        path = self.root / "secrets" / name
        if not path.exists():
            partial = path.with_suffix(".partial")
            partial.unlink(missing_ok=True)
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(24))
            partial.rename(path)
        return path.read_text()

    def is_data_folder(self) -> bool:
        """True if make() made this folder."""
        return (self.root / MARKER).exists()

    def remove(self) -> None:
        """Delete the folder and everything in it."""
        shutil.rmtree(self.root)


def here() -> DataFolder:
    """Return the data folder of this user and clone; print a line on standard error when it is not the usual one."""
    folder, reason = choose(os.environ, layout.here().root)
    if reason:
        print(reason, file=sys.stderr, flush=True)
    return folder


def choose(environ: Mapping[str, str], root: Path) -> tuple[DataFolder, str | None]:
    """Return the folder that FLUORO_DATA names, else .data in the repository `root`.

    For root, PostgreSQL runs as another user. If that user cannot reach .data, the folder is /var/lib/fluoro, and the
    second value is a line with the reason.
    """
    if chosen := environ.get("FLUORO_DATA"):
        return DataFolder(Path(chosen).expanduser().absolute()), None
    usual = root / ".data"
    if os.geteuid() != 0:
        return DataFolder(usual), None
    account = postgres_account.existing()
    uid, gids = (account.pw_uid, [account.pw_gid]) if account else (-1, [])
    closed = preflight.unreachable_parent(usual, uid, gids)
    if closed is None:
        return DataFolder(usual), None
    reason = f"Data go to {SYSTEM_DATA}: the database does not run as root, and its user may not enter {closed}"
    return DataFolder(SYSTEM_DATA), reason


def empty(folder: Path) -> None:
    """Delete everything in a folder; a missing folder and vanishing entries are fine."""
    for entry in folder.iterdir() if folder.exists() else ():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
