"""Fetch the jars of one jgo.lock.toml into a folder: `fetch_jars.py LOCK FOLDER [ARTIFACT]`.

Runs in the project's environment, since jgo is the client. Only what the lock
names is fetched, no POM is read, and a jar whose sha256 is not the locked one
is never kept. With ARTIFACT, only the jar of that name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from jgo.env import LockFile
from jgo.maven import MavenContext, PythonResolver

if TYPE_CHECKING:
    from jgo.env import LockedDependency

ATTEMPTS = 3
AT_ONCE = 8


def fetch(jar: LockedDependency, staging: Path, folder: Path) -> None:
    """Fetch a jar into the folder, up to ATTEMPTS times; ends the script when no attempt fetches the locked file."""
    for attempt in range(1, ATTEMPTS + 1):
        context = MavenContext(PythonResolver(), staging / str(attempt), local_repos=[], timeout=60)
        component = context.project(jar.groupId, jar.artifactId).at_version(jar.version)
        try:
            path = component.artifact(jar.classifier or "", jar.packaging).resolve()
        except (requests.RequestException, RuntimeError) as error:
            problem = f"{jar.artifactId} {jar.version}: {error}"
            continue
        if sha256(path) == jar.sha256:
            path.rename(folder / path.name)
            return
        problem = f"{jar.artifactId} {jar.version}: sha256 mismatch with the lock"
    raise SystemExit(problem)


def sha256(path: Path) -> str:
    """Return a file's sha256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_all(lock: Path, folder: Path, only: str | None = None) -> None:
    """Fetch every jar of the lock, or the one of the name `only`, into the folder."""
    jars = [jar for jar in LockFile.load(lock).dependencies if only in (None, jar.artifactId)]
    staging = folder / ".staging"
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda jar: fetch(jar, staging, folder), jars))
    shutil.rmtree(staging)


if __name__ == "__main__":
    if "SSL_CERT_FILE" in os.environ:
        # pip, uv and Go read SSL_CERT_FILE, requests another variable.
        os.environ.setdefault("REQUESTS_CA_BUNDLE", os.environ["SSL_CERT_FILE"])
    fetch_all(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:4])
