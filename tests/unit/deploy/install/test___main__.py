"""The installer runs before anything is installed."""

import subprocess
import sys

from deploy.install import layout


def test_the_installer_starts_with_nothing_but_the_standard_library() -> None:
    command = [sys.executable, "-E", "-s", "-S", "-m", "deploy.install", "--help"]
    done = subprocess.run(command, cwd=layout.here({}).root, capture_output=True, check=False)

    assert done.returncode == 0
    assert b"FLUORO_MINIO" in done.stdout
