"""A JSON file is replaced as a whole, and only its owner may read it."""

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.local.json_file import write_json


@pytest.mark.parametrize("record", [{}, {"ports": {"web": 8060}}, [1, None, "M\u00fcller"], "text"])
def test_what_was_written_is_read(record: Any, tmp_path: Path) -> None:
    write_json(tmp_path / "state.json", record)

    assert json.loads((tmp_path / "state.json").read_text()) == record


def test_only_the_owner_may_read_it_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.touch(mode=0o644)
    write_json(path, {"one": 1})

    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_of_the_old_file_reads_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_json(path, {"old": "x" * 100_000})
    with path.open() as reading:
        begun = reading.read(10)
        write_json(path, {"new": 1})
        rest = reading.read()

    assert json.loads(begun + rest) == {"old": "x" * 100_000}
    assert json.loads(path.read_text()) == {"new": 1}


def test_the_rest_of_a_write_that_was_killed_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "state.json.partial").write_text('{"old": "xxxxxxxxxxxxxxxxxxxxxxxxx')
    write_json(tmp_path / "state.json", {"new": 1})

    assert json.loads((tmp_path / "state.json").read_text()) == {"new": 1}


def test_a_record_that_is_no_json_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_json(path, {"one": 1})

    with pytest.raises(TypeError):
        write_json(path, {"one": object()})
    assert json.loads(path.read_text()) == {"one": 1}
