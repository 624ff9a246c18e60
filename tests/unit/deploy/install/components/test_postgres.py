"""PostgreSQL is unpacked from the jar of this kind of machine, in the version of the lock."""

import io
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from deploy.install import layout
from deploy.install.components import postgres

HERE = layout.here({"FLUORO_CACHE": "/nonexistent"})


def locked() -> list[dict[str, Any]]:
    text = (HERE.jar_set("postgres") / "jgo.lock.toml").read_text(encoding="utf-8")
    jars: list[dict[str, Any]] = tomllib.loads(text)["dependencies"]
    return jars


@pytest.mark.parametrize(
    ("system", "machine"),
    [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("darwin", "x86_64")],
)
def test_every_kind_of_machine_has_its_postgresql_in_the_lock(system: str, machine: str) -> None:
    assert postgres.jar_name(system, machine) in {jar["artifactId"] for jar in locked()}


def test_the_postgresql_jars_are_one_version() -> None:
    assert {jar["version"].removesuffix(".0") for jar in locked()} == {postgres.version(HERE)}


def test_the_archive_inside_a_jar_is_unpacked_with_its_modes_and_links(tmp_path: Path) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:xz") as archive:
        program = tarfile.TarInfo("bin/postgres")
        program.size, program.mode, program.uid, program.gid = 4, 0o755, 12345, 12345
        archive.addfile(program, io.BytesIO(b"#!/x"))
        link = tarfile.TarInfo("lib/pq.so")
        link.type, link.linkname = tarfile.SYMTYPE, "pq.so.5"
        archive.addfile(link)
    with zipfile.ZipFile(tmp_path / "x.jar", "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", "")
        jar.writestr("postgres-linux.txz", content.getvalue())
    postgres.unpack(tmp_path / "x.jar", tmp_path / "out")
    unpacked = tmp_path / "out" / "bin" / "postgres"

    assert unpacked.stat().st_mode & 0o777 == 0o755
    assert unpacked.stat().st_uid == tmp_path.stat().st_uid
    assert (tmp_path / "out" / "lib" / "pq.so").readlink() == Path("pq.so.5")
