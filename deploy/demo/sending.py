"""Send a study to the gateway with a stock DICOM client, pynetdicom's storescu."""

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from deploy.demo.study import StudyFile
from deploy.errors import Failed
from deploy.install.disk import MB
from deploy.local.running import RunningStack

# The line that storescu prints for each answer.
STATUS = re.compile(r"Received Store Response \(Status: 0x([0-9A-F]{4})")
# Success, or stored with a warning (PS3.4 B.2.3).
STORED = re.compile("0000|B[0-9A-F]{3}")


def send(stack: RunningStack, folder: Path, files: Sequence[StudyFile]) -> str:
    """Send a folder and return the rate in words, or nothing; raises Failed unless every file is acknowledged."""
    dimse = stack.plan.dimse
    address = (dimse.host, str(dimse.port), str(folder), "-aec", dimse.ae_title)
    command = (sys.executable, "-m", "pynetdicom", "storescu", *address, "-r", "-cx", "-v")
    lines: list[tuple[float, str]] = []
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as client:
        for line in client.stdout or ():
            last = line.strip() or last
            if "Sending file" in line or STATUS.search(line):
                lines.append((time.monotonic(), line))
    statuses = Counter(found[1] for _, line in lines if (found := STATUS.search(line)))
    check_statuses(statuses, len(files), client.returncode, last)
    took_s = lines[-1][0] - lines[0][0]
    size = sum(file.path.stat().st_size for file in files)
    return f", {size / MB / took_s:.0f} MB/s" if took_s > 0 else ""


def check_statuses(statuses: Counter[str], files: int, exit_status: int, last_line: str) -> None:
    """Raise Failed unless storescu ended well and as many files as it sent were stored."""
    acknowledged = sum(count for status, count in statuses.items() if STORED.fullmatch(status))
    if exit_status or acknowledged != files:
        answers = ", ".join(f"{count} x {status}" for status, count in statuses.items())
        raise Failed(f"storescu: {acknowledged} of {files} acknowledged ({answers or last_line})")
