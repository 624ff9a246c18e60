"""Log lines say where something failed, and quote no data."""

import subprocess
import sys
from pathlib import Path

FAILING = """
import warnings
import structlog
from schemas.telemetry import set_up_logs

set_up_logs("gateway")

def examine():
    patient_name = "CANARY^LOCAL"
    raise ValueError("CANARY^VALUE")

warnings.warn("CANARY^WARNING")
try:
    examine()
except ValueError as error:
    structlog.get_logger().error("association_failed", exc_info=error)
"""


def test_a_logged_failure_quotes_neither_local_variables_nor_the_exception_s_message() -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", FAILING], cwd=root, capture_output=True, text=True, check=True)

    assert "association_failed" in done.stderr
    assert "ValueError" in done.stderr
    assert "examine" in done.stderr
    assert "CANARY" not in done.stderr
