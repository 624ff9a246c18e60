"""uv, installed by pip, and the Python environment, installed by uv; each file is checked against its locked hash."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.errors import Failed
from deploy.install.disk import MB, discard
from deploy.install.steps import InstallStep

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.install.layout import Layout
    from deploy.install.step_context import StepContext

# Everything that `python -m venv` makes: deleted first, since it would be mixed with the environment of another Python.
UV_PARTS = ("bin", "include", "lib", "pyvenv.cfg")


def file_hash(path: Path) -> str:
    """Return the sha256 of a lock file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Stamp:
    """A file that marks an installed part as complete; `key` is a hash of the inputs that it was made from."""

    path: Path
    key: str

    def holds(self) -> bool:
        """True if the stamp was set for the same key."""
        return self.path.exists() and self.path.read_text(encoding="ascii") == self.key

    def set(self) -> None:
        """Mark the part as complete."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(self.key, encoding="ascii")

    def clear(self) -> None:
        """Mark the part as incomplete."""
        self.path.unlink(missing_ok=True)


def uv_step(here: Layout) -> InstallStep:
    """Return the step that installs uv."""
    return InstallStep(
        name="uv",
        room=here.root,
        room_bytes=70 * MB,
        results=tuple(here.tools / part for part in UV_PARTS),
        is_ready=lambda: here.uv.exists() and uv_stamp(here).holds(),
        make=lambda context: install_uv(here, context),
    )


def uv_lock(here: Layout) -> Path:
    """Return the file that pins uv itself."""
    return here.root / "deploy" / "install" / "uv.lock.txt"


def uv_stamp(here: Layout) -> Stamp:
    """Return the stamp of the pinned uv."""
    return Stamp(here.tools / "stamps" / "uv", file_hash(uv_lock(here)))


def install_uv(here: Layout, context: StepContext) -> None:
    """Make a new environment for uv and install it there by pip."""
    for part in UV_PARTS:
        discard(here.tools / part)
    context.run([sys.executable, "-m", "venv", here.tools])
    pip = (here.tools / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--no-input")
    context.run([*pip, "install", "--no-deps", "--require-hashes", "-r", uv_lock(here)])
    uv_stamp(here).set()


def step(here: Layout) -> InstallStep:
    """Return the step that installs the Python environment."""
    return InstallStep(
        name="Python environment",
        needs=("uv",),
        room=here.root,
        room_bytes=1_500 * MB,
        results=(here.venv,),
        is_ready=lambda: here.python.exists() and stamp(here).holds(),
        make=lambda context: install(here, context),
    )


def requirements_lock(here: Layout) -> Path:
    """Return the file that pins every Python package."""
    return here.root / "requirements.lock"


def stamp(here: Layout) -> Stamp:
    """Return the stamp of the locked packages."""
    return Stamp(here.environment_stamp, file_hash(requirements_lock(here)))


def install(here: Layout, context: StepContext) -> None:
    """Make the environment if it is missing, and install exactly the packages of the lock."""
    mark = stamp(here)
    mark.clear()
    env = os.environ | {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
    if not here.python.exists():
        context.run([here.uv, "venv", "--clear", "--python", sys.executable, here.venv], env=env)
    sync = (here.uv, "pip", "sync", "--python", here.python, "--require-hashes", requirements_lock(here))
    context.run(sync, env=env)
    mark.set()


def pinned(lock: str, package: str) -> str:
    """Return the lines of one package in the text of a hash-pinned lock; raises Failed when it is not there."""
    found = re.search(rf"^{re.escape(package)}==.*(?:\n    .*)*", lock, re.MULTILINE)
    if found is None:
        raise Failed(f"requirements.lock does not name {package}: run make lock")
    return found.group(0) + "\n"
