"""The locks of jars pin every file by its hash, name no address, and were made from the coordinates beside them."""

import hashlib
import re
import tomllib
from typing import Any

import pytest

from deploy.install import layout

HERE = layout.here({"FLUORO_CACHE": "/nonexistent"})
JAR_SETS = sorted(path.name for path in (HERE.root / "deploy" / "install" / "jars").iterdir())


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


def test_all_of_kafka_is_one_version() -> None:
    kafka = [jar for jar in lock("kafka")["dependencies"] if jar["groupId"] == "org.apache.kafka"]

    assert {jar["artifactId"] for jar in kafka} >= {"kafka_2.13", "kafka-clients", "kafka-server"}
    assert len({jar["version"] for jar in kafka}) == 1
