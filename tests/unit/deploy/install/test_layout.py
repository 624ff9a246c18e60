"""The layout names where everything is installed."""

from pathlib import Path

import pytest

from deploy.install import layout


@pytest.mark.parametrize(
    ("environ", "user", "folder"),
    [
        ({}, "ada", "/home/ada/.cache/fluoro"),
        ({"XDG_CACHE_HOME": "/scratch"}, "ada", "/scratch/fluoro"),
        ({"XDG_CACHE_HOME": "/scratch"}, "root", "/var/cache/fluoro"),
        ({"FLUORO_CACHE": "/srv/fluoro", "XDG_CACHE_HOME": "/scratch"}, "root", "/srv/fluoro"),
    ],
)
def test_the_cache_is_the_named_folder_or_one_that_postgresql_can_reach(
    environ: dict[str, str], user: str, folder: str
) -> None:
    chosen = layout.cache_folder(environ, is_root=user == "root", home=Path("/home/ada"))

    assert chosen == Path(folder)


def test_another_lock_has_another_folder_in_the_cache(tmp_path: Path) -> None:
    here = layout.Layout(tmp_path, tmp_path / "cache")
    lock = here.jar_set("kafka") / "jgo.lock.toml"
    lock.parent.mkdir(parents=True)
    lock.write_text("one", encoding="ascii")
    first = here.kafka_jars
    lock.write_text("two", encoding="ascii")

    assert here.kafka_jars != first
    assert here.kafka_class_path == f"{here.kafka_jars}/*"


def test_the_servers_are_missing_without_a_cache() -> None:
    here = layout.here({"FLUORO_CACHE": "/nonexistent"})

    assert {"Kafka", "PostgreSQL"} <= set(here.missing())
