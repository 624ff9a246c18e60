"""PostgreSQL, which is packaged as an archive inside a jar for each kind of machine."""

from __future__ import annotations

import platform
import sys
import tarfile
import tomllib
import zipfile
from typing import TYPE_CHECKING

from deploy.errors import Failed
from deploy.install.components import jars
from deploy.install.disk import MB, discard
from deploy.install.steps import InstallStep

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.install.layout import Layout
    from deploy.install.step_context import StepContext

# The jars' name of each kind of machine, by Python's name.
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64v8", "arm64": "arm64v8"}


def step(here: Layout) -> InstallStep:
    """Return the step that installs PostgreSQL."""
    return InstallStep(
        name="PostgreSQL",
        needs=("Python environment",),
        room=here.cache,
        room_bytes=85 * MB,
        results=(here.postgres,),
        is_ready=here.postgres.exists,
        make=lambda context: install(here, context),
    )


def jar_name(system: str = sys.platform, machine: str = "") -> str:
    """Return the name of the jar for a kind of machine, this one by default; raises Failed when there is none."""
    kind = _MACHINES.get((machine or platform.machine()).lower())
    if kind is None:
        raise Failed(f"no PostgreSQL is packaged for {machine or platform.machine()}: use an x86-64 or ARM64 machine")
    return f"embedded-postgres-binaries-{system}-{kind}"


def version(here: Layout) -> str:
    """Return the locked version as PostgreSQL writes it: 18.6 for 18.6.0."""
    lock = tomllib.loads((here.jar_set("postgres") / "jgo.lock.toml").read_text(encoding="utf-8"))
    return str(lock["dependencies"][0]["version"]).removesuffix(".0")


def install(here: Layout, context: StepContext) -> None:
    """Fetch the jar for this machine and unpack it; raises Failed when it holds another version than the lock says."""
    with context.building(here.postgres) as building:
        if building is None:
            return
        inner, folder = building
        jars.fetch(here, inner, "postgres", folder / "jar", jar_name())
        unpack(next((folder / "jar").glob("*.jar")), folder)
        discard(folder / "jar")
        output = inner.run([folder / "bin" / "postgres", "--version"])
        if f" {version(here)}\n" not in output:
            raise Failed(f"the lock names PostgreSQL {version(here)}, the jar holds {output.strip()}")


class TrustedArchive(tarfile.TarFile):
    """An archive whose hash was checked: unpacked as it is, except that the files belong to the present user."""

    extraction_filter = staticmethod(lambda member, _: member)

    def chown(self, tarinfo: tarfile.TarInfo, targetpath: object, numeric_owner: bool) -> None:  # noqa: FBT001
        """Do not change the owner."""


def unpack(jar: Path, folder: Path) -> None:
    """Unpack the one .txz inside a jar."""
    with zipfile.ZipFile(jar) as outer:
        name = next(entry for entry in outer.namelist() if entry.endswith(".txz"))
        with outer.open(name) as packed, TrustedArchive.open(fileobj=packed, mode="r|xz") as inner:
            inner.extractall(folder)  # noqa: S202 - its sha256 is in our lock
