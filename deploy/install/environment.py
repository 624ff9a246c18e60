"""The Python environment: uv by pip, everything else by uv, each file checked against its locked hash."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.install.disk import discard, size_bytes
from deploy.install.steps import Cost, timed

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.install.layout import Layout
    from deploy.install.steps import Work

_DOWNLOAD = re.compile(r"^Downloading \S+ \(([\d.]+)([KMG])iB\)", re.MULTILINE)
_TOOK = re.compile(r"^(Prepared|Installed) .* in (?:(\d+)m )?([\d.]+)(ms|s)$", re.MULTILINE)
# What `python -m venv` makes; over one of another Python it would make a broken mixture.
UV_PARTS = ("bin", "include", "lib", "pyvenv.cfg")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def file_hash(path: Path) -> str:
    """What a stamp remembers of a lock."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Stamp:
    """A mark that something was completed from exactly these inputs."""

    path: Path
    key: str

    def holds(self) -> bool:
        """Whether it was set for the same inputs."""
        return self.path.exists() and self.path.read_text(encoding="ascii") == self.key

    def set(self) -> None:
        """Mark it complete."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(self.key, encoding="ascii")

    def clear(self) -> None:
        """Mark it under work."""
        self.path.unlink(missing_ok=True)


def uv_lock(here: Layout) -> Path:
    """The pin of uv itself."""
    return here.root / "deploy" / "install" / "uv.lock.txt"


def uv_stamp(here: Layout) -> Stamp:
    """Complete when uv is the pinned one."""
    return Stamp(here.tools / "stamps" / "uv", file_hash(uv_lock(here)))


def make_uv(here: Layout, work: Work) -> Cost:
    """Make an environment for uv, afresh, and let pip install it."""
    with timed() as build_s:
        for part in UV_PARTS:
            discard(here.tools / part)
        work.run([sys.executable, "-m", "venv", here.tools])
    pip = (here.tools / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--no-input")
    with timed() as download_s:
        work.run([*pip, "install", "--no-deps", "--require-hashes", "-r", uv_lock(here)])
    uv_stamp(here).set()
    return Cost(download_s(), build_s(), 0, sum(size_bytes(here.tools / part) for part in UV_PARTS))


def stamp(here: Layout) -> Stamp:
    """Complete when every package is the locked one."""
    return Stamp(here.environment_stamp, file_hash(here.root / "requirements.lock"))


def make(here: Layout, work: Work) -> Cost:
    """Bring the Python environment to what the lock says."""
    mark = stamp(here)
    mark.clear()
    env = os.environ | {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
    if not here.python.exists():
        work.run([here.uv, "venv", "--clear", "--python", sys.executable, here.venv], env=env)
    sync = (here.uv, "pip", "sync", "--python", here.python, "--require-hashes", here.root / "requirements.lock")
    said = work.run(sync, env=env)
    mark.set()
    took = uv_seconds(said)
    return Cost(took["Prepared"], took["Installed"], uv_bytes(said), size_bytes(here.venv))


def uv_bytes(said: str) -> int:
    """Bytes that uv says it downloads; it names only packages above a megabyte."""
    return int(sum(float(amount) * _UNITS[unit] for amount, unit in _DOWNLOAD.findall(said)))


def uv_seconds(said: str) -> dict[str, float]:
    """How long uv says that it took to download (Prepared) and to link (Installed)."""
    took = {"Prepared": 0.0, "Installed": 0.0}
    for what, minutes, amount, unit in _TOOK.findall(said):
        took[what] = 60 * float(minutes or 0) + float(amount) / (1000 if unit == "ms" else 1)
    return took
