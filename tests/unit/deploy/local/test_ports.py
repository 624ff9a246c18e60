"""Free ports are chosen once, kept, and never shared by two servers."""

import fcntl
from pathlib import Path

import pytest

from deploy.local.data_folder import DataFolder
from deploy.local.json_file import write_json
from deploy.local.ports import choose_ports, choosing_alone


def test_ports_are_chosen_once_and_kept(folder: DataFolder) -> None:
    wanted = {"dimse": 11112, "kafka": 0, "postgres": 0}
    first, second = choose_ports(folder, wanted, {"kafka": 3}), choose_ports(folder, wanted, {"kafka": 3})

    assert first == second
    assert first["dimse"] == 11112
    assert first["postgres"] not in range(first["kafka"], first["kafka"] + 3)


def test_new_ports_are_chosen_for_a_row_that_has_grown_into_another_port(folder: DataFolder) -> None:
    write_json(folder.ports, {"metrics": 20000, "kafka": 20003})
    wanted = {"kafka": 0, "metrics": 0}
    narrow, wide = choose_ports(folder, wanted, {"metrics": 3}), choose_ports(folder, wanted, {"metrics": 256})

    assert narrow == {"metrics": 20000, "kafka": 20003}
    assert wide["kafka"] == 20003
    assert wide["kafka"] not in range(wide["metrics"], wide["metrics"] + 256)


def test_a_fixed_port_is_never_chosen_for_another_server(folder: DataFolder) -> None:
    write_json(folder.ports, {"kafka": 20003})

    assert choose_ports(folder, {"dimse": 20003, "kafka": 0}, {})["kafka"] != 20003


def test_another_process_that_starts_servers_waits_until_the_first_has_started_its_own(tmp_path: Path) -> None:
    def try_to_choose() -> None:
        with (tmp_path / "ports.lock").open() as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    with choosing_alone(tmp_path), pytest.raises(BlockingIOError):
        try_to_choose()
    try_to_choose()
