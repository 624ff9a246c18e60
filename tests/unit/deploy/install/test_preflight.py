"""Everything that would stop an installation or a start is reported at once, each with what to do."""

import socket
from pathlib import Path

import pytest

from deploy.install import preflight


def nothing(_: str) -> None:
    return None


def test_only_the_pythons_that_the_lock_was_made_for_are_accepted() -> None:
    answers = [preflight.python_obstacle(version) for version in ((3, 10), (3, 11), (3, 12), (3, 13))]

    assert [answer is None for answer in answers] == [False, True, True, False]
    assert str(answers[0]) == "this is Python 3.10: run it with Python 3.11 or 3.12"


def test_a_python_without_venv_is_named_with_its_remedy() -> None:
    obstacle = preflight.venv_obstacle(lambda module: None if module == "ensurepip" else module)

    assert obstacle is not None
    assert obstacle.problem == "Python has no module ensurepip"
    assert "venv" in obstacle.remedy


def test_a_missing_shared_library_of_python_is_reported(tmp_path: Path) -> None:
    here = preflight.libpython_obstacle([tmp_path])
    nowhere = preflight.libpython_obstacle([tmp_path / "libpython3.so"])

    assert here is None
    assert nowhere is not None
    assert "libpython" in nowhere.problem


@pytest.mark.parametrize(
    ("installer", "remedy"),
    [
        ("apt-get", "apt-get install git"),
        ("dnf", "dnf install git"),
        ("", "install git with the system's package manager"),
    ],
)
def test_the_remedy_is_the_command_of_this_system(installer: str, remedy: str) -> None:
    obstacle = preflight.program_obstacle("git", lambda program: f"/bin/{program}" if program == installer else None)

    assert obstacle == preflight.Obstacle("git is missing", remedy)


def test_the_bytes_for_all_folders_on_one_disk_add_up(tmp_path: Path) -> None:
    needs = [(tmp_path / "not" / "yet", 600), (tmp_path, 600)]

    enough = preflight.disk_obstacles(needs, lambda _: 1200)
    short = preflight.disk_obstacles(needs, lambda _: 1199)

    assert enough == ()
    assert len(short) == 1
    assert "FLUORO_CACHE" in short[0].remedy


@pytest.mark.parametrize(
    ("limit", "used", "available"),
    [("max\n", "0\n", 5 << 20), (str(4 << 20), str(1 << 20), 3 << 20), (str(64 << 20), "0", 5 << 20)],
)
def test_available_memory_is_the_lesser_of_the_machine_s_and_the_control_group_s(
    limit: str, used: str, available: int
) -> None:
    meminfo = "MemTotal: 9999 kB\nMemAvailable: 4096 kB\nSwapFree: 1024 kB\n"

    assert preflight.available_bytes(meminfo, limit, used) == available


def test_unknown_memory_is_no_obstacle() -> None:
    answers = [preflight.memory_obstacle(available, 100) for available in (None, 100, 99)]

    assert [answer is None for answer in answers] == [True, True, False]


def test_all_taken_ports_are_named_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        ports = {"DIMSE": first.getsockname()[1], "web": second.getsockname()[1]}
        taken = preflight.port_obstacles(ports)
    free = preflight.port_obstacles(ports)

    assert [obstacle.problem.split("(")[1] for obstacle in taken] == ["DIMSE) is taken", "web) is taken"]
    assert free == ()


def test_the_outermost_closed_parent_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    inner = closed / "data"
    inner.mkdir(parents=True)
    inner.chmod(0o700)
    closed.chmod(0o700)
    tmp_path.chmod(0o755)
    nobody = preflight.unreachable_parent(inner, -1, ())
    owner = preflight.unreachable_parent(inner, closed.stat().st_uid, ())

    assert nobody is not None
    assert inner.is_relative_to(nobody)
    assert nobody != inner
    assert owner is None


def test_the_mode_for_the_group_decides_even_where_others_may_enter(tmp_path: Path) -> None:
    tmp_path.chmod(0o705)
    gid = tmp_path.stat().st_gid

    assert not preflight.may_enter(tmp_path.stat(), -1, {gid})
    assert preflight.may_enter(tmp_path.stat(), -1, ())


def test_a_start_reports_every_obstacle(tmp_path: Path) -> None:
    data = tmp_path / "closed" / "data"
    data.mkdir(parents=True)
    data.parent.chmod(0o700)
    with socket.create_server(("127.0.0.1", 0)) as server:
        obstacles = preflight.before_start(data, {"web": server.getsockname()[1]}, postgres_user=(-1, ()))
    report = "\n".join(map(str, obstacles))

    assert "no other user may enter" in report
    assert "(web) is taken" in report
