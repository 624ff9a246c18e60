"""The MinIO server is the one that the user names, or one that was built from the pinned source."""

from pathlib import Path

import pytest

from deploy.install.components import minio
from deploy.install.layout import Layout


@pytest.fixture
def here(tmp_path: Path) -> Layout:
    here = Layout(tmp_path / "clone", tmp_path / "cache")
    here.tools.mkdir(parents=True)
    return here


def binary(path: Path, line: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"binary {line} binary", encoding="ascii")
    path.chmod(0o755)
    return path


def test_a_minio_on_path_counts_only_if_it_is_the_pinned_one(here: Layout, tmp_path: Path) -> None:
    other = binary(tmp_path / "other" / "minio", "mod\tgithub.com/minio/minio\tv1\th1:x=")
    same = binary(tmp_path / "same" / "minio", minio.SOURCE_LINE)

    assert minio.choose(here, {"PATH": str(other.parent)}) == here.built_minio
    assert minio.choose(here, {"PATH": str(same.parent)}) == same


def test_a_minio_that_the_user_names_is_used_first(here: Layout, tmp_path: Path) -> None:
    named = binary(tmp_path / "named", "anything")
    binary(here.built_minio, minio.SOURCE_LINE)
    environ = {"FLUORO_MINIO": str(named), "PATH": ""}
    here.minio.symlink_to(named)

    assert minio.is_ready(here, environ)
    assert not minio.is_ready(here, {"PATH": ""})


def test_an_empty_or_a_missing_file_is_no_minio(tmp_path: Path) -> None:
    (tmp_path / "minio").touch()

    assert not minio.is_pinned(tmp_path / "minio")
    assert not minio.is_pinned(tmp_path / "missing")


def test_a_build_keeps_only_the_server(tmp_path: Path) -> None:
    binary(tmp_path / "bin" / "minio", "x")
    (tmp_path / "path" / "pkg").mkdir(parents=True)
    (tmp_path / "go.txt").touch()
    minio.keep_only(tmp_path, tmp_path / "bin" / "minio")

    assert [entry.name for entry in tmp_path.iterdir()] == ["minio"]


def test_go_uses_no_toolchain_or_folder_of_the_system(tmp_path: Path) -> None:
    environ = minio.go_environment(tmp_path)

    assert environ["GOTOOLCHAIN"] == "local"
    assert {environ[name] for name in ("GOPATH", "GOCACHE", "GOBIN")} == {
        str(tmp_path / "path"),
        str(tmp_path / "cache"),
        str(tmp_path / "bin"),
    }
