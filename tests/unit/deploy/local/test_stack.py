"""The plan of a stack gives each server its settings: the user's own, with the ports and folders of this stack."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.install import layout
from deploy.local import stack
from deploy.local.data_folder import DataFolder
from deploy.local.json_file import write_json
from deploy.local.servers import postgres_account
from deploy.local.servers.create_database import DATABASE
from deploy.local.stack import INHERITED, INNER_PORTS, LOCAL, Stack
from deploy.local.supervision import processes
from deploy.local.supervision.stack_state import StackState
from schemas.settings.reading import SettingsError
from schemas.settings.servers import BrokerSettings, RoleSettings, StoreSettings
from schemas.topics import PARTITIONS
from tests.support.data.sections import every_section, names_of

HERE = layout.here({"FLUORO_CACHE": "/nonexistent"})
PORTS = {
    "dimse": 1,
    "web": 2,
    "flink": 3,
    "kafka": 4,
    "minio": 5,
    "postgres": 6,
    "gateway-metrics": 7,
    "kafka-controller": 8,
    "job-metrics": 9,
    "verify-metrics": 10,
}
# To plan a stack makes PostgreSQL's user where it is missing; a test makes no user.
makes_no_user = pytest.mark.skipif(
    os.geteuid() == 0 and postgres_account.existing() is None, reason="PostgreSQL's user does not exist here"
)


def planned(folder: DataFolder, **environ: str) -> Stack:
    return Stack(HERE, folder, PORTS, environ, None)


# Sections


def test_each_server_is_reached_at_its_port_on_this_machine(folder: DataFolder) -> None:
    made = planned(folder)

    assert made.store.endpoint == "http://127.0.0.1:5"
    assert made.broker.bootstrap == "127.0.0.1:4"
    assert (made.catalog("reader").host, made.catalog("reader").port) == ("127.0.0.1", 6)
    assert (made.dimse.port, made.dimse.metrics_port) == (1, 7)
    assert (made.api.port, made.job.rest_port, made.job.metrics_port) == (2, 3, 9)


def test_what_the_stack_stores_is_in_its_folder(folder: DataFolder) -> None:
    made = planned(folder)
    stored = (made.intake.spool_dir, made.intake.outbox_dir, made.job.checkpoint_dir)

    assert [path.parent for path in stored] == [folder.root] * 3
    assert all(path.is_dir() for path in stored)


def test_each_role_of_the_catalog_has_a_password_of_its_own_that_stays_the_same(folder: DataFolder) -> None:
    roles = ("owner", "writer", "reader")
    first, second = ([planned(folder).catalog(role) for role in roles] for _ in range(2))

    assert [found.user for found in first] == list(roles)
    assert {found.database for found in first} == {DATABASE}
    assert len({found.password for found in first}) == len(roles)
    assert first == second


def test_the_users_settings_are_kept_where_the_stack_has_no_need_of_its_own(folder: DataFolder) -> None:
    made = planned(folder, FLUORO_DIMSE_AE_TITLE="NORTH", FLUORO_CATALOG_CONNECTIONS="4", FLUORO_STOW_PARTS="9")

    assert (made.dimse.ae_title, made.catalog("writer").connections, made.stow.parts) == ("NORTH", 4, 9)


def test_the_servers_of_the_stack_speak_in_plain_text_on_loopback_whatever_is_exported(folder: DataFolder) -> None:
    exported = {"FLUORO_BROKER_SECURITY_PROTOCOL": "SSL", "FLUORO_CATALOG_SSLMODE": "require"}
    made = planned(folder, **exported, FLUORO_STORE_BUCKET_PREFIX="ours-", FLUORO_BROKER_TOPIC_REPLICAS="3")

    assert (made.broker.security_protocol, made.broker.topic_replicas) == ("PLAINTEXT", 1)
    assert made.catalog("reader").sslmode == ""
    assert made.store.bucket_prefix == StoreSettings.bucket_prefix


def test_the_settings_of_the_stack_are_every_setting_there_is(folder: DataFolder) -> None:
    settings = planned(folder).settings("writer")

    # The local database is made with its roles, so that nothing gives them their passwords later.
    sections = [section for section in every_section() if section is not RoleSettings]
    assert settings.keys() == {name for section in sections for name in names_of(section)}
    assert settings["FLUORO_CATALOG_USER"] == "writer"
    assert settings["FLUORO_API_PORT"] == "2"


# Environment


def test_a_server_gets_its_sections_and_few_of_the_users_variables(
    folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = {"PATH": "/bin", "LANG": "C.UTF-8", "PYTHONPATH": "/x", "LD_PRELOAD": "/x.so", "FLUORO_API_PORT": "9"}
    monkeypatch.setattr("os.environ", users)
    made = planned(folder)
    env = made.env(made.api, made.broker)

    assert (env["PATH"], env["LANG"], env["FLUORO_API_PORT"]) == ("/bin", "C.UTF-8", "2")
    assert env["TMPDIR"] == str(folder.root / "tmp")
    assert env["FLUORO_BROKER_BOOTSTRAP"] == "127.0.0.1:4"
    assert not env.keys() & {"PYTHONPATH", "LD_PRELOAD"}
    assert not [name for name in env if name.startswith(("FLUORO_STORE_", "FLUORO_CATALOG_"))]
    assert made.env().keys() == {"PATH", "LANG", "TMPDIR", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
    assert {"PATH", "LANG"} <= set(INHERITED)


def test_a_python_command_is_run_by_the_environment_of_the_clone(folder: DataFolder) -> None:
    assert planned(folder).python("-m", "api") == (HERE.python, "-m", "api")


# Planning


@makes_no_user
def test_a_plan_takes_only_the_archives_variables_and_settles_sooner_than_by_default(folder: DataFolder) -> None:
    made = stack.plan(HERE, folder, {"PATH": "/bin", "FLUORO_STUDY_QUIET_S": "7"}, free_ports=True)

    assert made.environ == LOCAL | {"FLUORO_STUDY_QUIET_S": "7"}
    assert (made.study.quiet_s, made.study.released_s) == (7, 2)


@makes_no_user
def test_the_topics_of_a_new_stack_have_few_partitions_unless_more_are_wanted(folder: DataFolder) -> None:
    wanted: tuple[dict[str, str], ...] = ({}, {"FLUORO_BROKER_TOPIC_PARTITIONS": "32"})
    made = [stack.plan(HERE, folder, environ, free_ports=True).broker.topic_partitions for environ in wanted]

    assert made == [4, 32]
    assert BrokerSettings.topic_partitions == PARTITIONS


@makes_no_user
def test_the_users_ports_are_fixed_and_inner_ports_are_free_ones(folder: DataFolder) -> None:
    wanted = {"FLUORO_DIMSE_PORT": "11", "FLUORO_API_PORT": "12", "FLUORO_JOB_REST_PORT": "13"}
    made = stack.plan(HERE, folder, wanted, free_ports=False)

    assert {name: made.ports[name] for name in ("dimse", "web", "flink")} == {"dimse": 11, "web": 12, "flink": 13}
    assert made.ports.keys() == PORTS.keys()
    assert len({made.ports[name] for name in INNER_PORTS}) == len(INNER_PORTS)
    assert (made.dimse.port, made.api.port, made.job.rest_port) == (11, 12, 13)


@makes_no_user
def test_with_free_ports_no_port_is_the_usual_one_and_all_stay_the_same(folder: DataFolder) -> None:
    environ = {"FLUORO_API_PORT": "12"}
    first, second = (stack.plan(HERE, folder, environ, free_ports=True) for _ in range(2))

    assert 12 not in first.ports.values()
    assert first.ports == second.ports


@makes_no_user
@pytest.mark.parametrize(("name", "width"), [("gateway-metrics", 40), ("job-metrics", 2)])
def test_every_process_has_a_free_metrics_port(name: str, width: int, folder: DataFolder) -> None:
    write_json(folder.ports, {name: 20000, "kafka": 20001})
    made = stack.plan(HERE, folder, {"FLUORO_DIMSE_PROCESSES": "40"}, free_ports=True)
    first = made.ports[name]
    others = {port for other, port in made.ports.items() if other != name}

    assert others.isdisjoint(range(first, first + width))


@pytest.mark.parametrize("name", ["FLUORO_DIMSE_PORT", "FLUORO_API_PORT", "FLUORO_JOB_REST_PORT"])
def test_a_wrong_setting_is_named(name: str, folder: DataFolder) -> None:
    with pytest.raises(SettingsError, match=f"^{name}: "):
        stack.plan(HERE, folder, {name: "many"}, free_ports=False)


def test_another_process_recalls_the_plan_from_the_state_file(folder: DataFolder, tmp_path: Path) -> None:
    made = planned(folder, FLUORO_DIMSE_AE_TITLE="NORTH")
    state = StackState("run", processes.boot_id(), processes.identify(os.getpid()), {}, plan=made.record)
    state.write(tmp_path / "state.json")
    found = StackState.read(tmp_path / "state.json")

    assert found
    recalled = stack.recall(HERE, folder, found)
    assert recalled == replace(made, account=None)
    assert recalled.settings("owner") == made.settings("owner")
