"""The README's lines that call and send work as they are printed, with compressed files too."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

from tests.support.worlds.reading import part10
from tests.support.worlds.running_gateway import RunningGateway, wait_for

README = Path(__file__).resolve().parents[3] / "README.md"
LINES = [line.strip() for line in README.read_text().splitlines() if "127.0.0.1 11112" in line]
PYTHON, LIMIT_S = ".venv/bin/python", 120
# Any fragment will do, since nobody decodes it.
PIXELS = [bytes(range(64))]
FILES = {
    "plain.dcm": part10(),
    "below/baseline.dcm": part10(JPEGBaseline8Bit, PIXELS, SOPInstanceUID="1.2.3.1.2"),
    "below/lossless.dcm": part10(JPEG2000Lossless, PIXELS, SOPInstanceUID="1.2.3.1.3"),
}


def words_of(line: str, port: int) -> list[str]:
    return [str(port) if word == "11112" else word for word in shlex.split(line, comments=True)]


def test_the_readme_has_lines_of_both_toolkits() -> None:
    assert [line.split()[0] for line in LINES if "folder/" in line] == [PYTHON, "dcmsend"]
    assert [line for line in LINES if "echoscu" in line]


@pytest.mark.parametrize("line", LINES)
def test_a_line_works_as_it_is_printed_with_compressed_files_too(
    line: str, gateway: RunningGateway, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for name, content in FILES.items():
        (path := tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    program, *arguments = words_of(line, gateway.port)
    if program == PYTHON:
        command, environment = [sys.executable, *arguments], None
    else:
        programs = request.getfixturevalue("dcmtk")
        command, environment = [*programs.command(program), *arguments], dict(programs.environment)

    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )

    # dcmtk's letters for errors; pynetdicom ends with status 0 whatever became of the files.
    assert done.returncode == 0
    assert not re.search("^[EF]: |Traceback", done.stderr, re.MULTILINE), done.stderr
    if "folder/" in line:
        wait_for(lambda: len(gateway.stored) == len(FILES))
        syntaxes = {event.sop_uid: event.transfer_syntax for event in gateway.stored}
        assert syntaxes["1.2.3.1.2"] == JPEGBaseline8Bit
        assert syntaxes["1.2.3.1.3"] == JPEG2000Lossless
