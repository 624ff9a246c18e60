"""A gateway that belongs to one test, in processes of its own, on the store and broker of a running stack."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.local.running import RunningStack

ROOT = Path(__file__).parents[3]
STOP_S = 30.0


@contextmanager
def gateway(
    archive: RunningStack, folder: Path, port: int, changes: Mapping[str, str], module: Sequence[str] = ("gateway",)
) -> Iterator["subprocess.Popen[str]"]:
    """Run a gateway for the block: it listens on this port, and keeps spool, outbox and log in this folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLUORO_")}
    with (
        (folder / "gateway.log").open("ab") as log,
        subprocess.Popen(
            (sys.executable, "-m", *module),
            cwd=ROOT,
            env={**kept, **archive.env, **settings_in(folder, port), **changes},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("listening")
            yield process
        finally:
            process.terminate()
            process.wait(STOP_S)


def settings_in(folder: Path, port: int) -> dict[str, str]:
    """Return the settings of a gateway of one process that listens on this port, its spool and outbox in this folder."""
    return {
        "FLUORO_DIMSE_PORT": str(port),
        "FLUORO_DIMSE_PROCESSES": "1",
        "FLUORO_DIMSE_METRICS_PORT": "0",
        "FLUORO_INTAKE_SPOOL_DIR": str(folder / "spool"),
        "FLUORO_INTAKE_OUTBOX_DIR": str(folder / "outbox"),
    }
