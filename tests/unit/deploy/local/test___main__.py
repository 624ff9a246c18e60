"""The commands of the local stack report a problem in one line."""

import pytest

from deploy.local.__main__ import main


@pytest.mark.parametrize("command", ["up", "status", "stop"])
def test_a_data_folder_that_is_a_file_is_reported_in_a_line(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLUORO_DATA", "/etc/passwd")

    assert main([command]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("/etc/passwd cannot ")
    assert "set FLUORO_DATA" in line
