"""A radiologist's first minutes with OHIF, done by a browser, and what was seen."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.machine.debian_tools import CHROMIUM, Programs
from tests.support.viewers.npm import NODE
from tests.support.viewers.studies import ACCESSION, BLUE, DESCRIPTION, REPORT, SLICES

SCRIPT = Path(__file__).parent / "ohif.mjs"
# The slowest step takes 5 s, and all of them 22 s. A bound costs time only where a step never ends: then no other step follows.
STEP_S = 240
ALL_S = 900
MIDDLE = SLICES // 2 - 1


@dataclass(frozen=True)
class Seen:
    """What each step has seen, and the folder of one screenshot a step."""

    steps: dict[str, Any]
    screenshots: Path

    def of(self, step: str) -> Any:
        """Return what a step has seen; fails with the reason where the browser did not get through it."""
        assert step in self.steps, f"{self.steps.get('failed')}; see {self.screenshots}"
        return self.steps[step]

    def found(self, step: str) -> tuple[int, set[str]]:
        """Return how many studies a search found, and the accession numbers of those of this test."""
        seen = self.of(step)
        cells = {cell for row in seen["rows"] for cell in row}
        return seen["count"], {cell for cell in cells if cell.startswith(ACCESSION)}


def first_minutes(packages: Path, browser: Programs, site: str, screenshots: Path) -> Seen:
    """Use OHIF at `site` on the studies of `viewed_studies`; return what was seen."""
    given = {
        "packages": str(packages),
        "browser": str(browser.folder / CHROMIUM.program),
        "site": site,
        "step_ms": STEP_S * 1000,
        "accession": ACCESSION,
        "image": DESCRIPTION,
        "report": REPORT,
        "colour": BLUE,
        "middle": MIDDLE,
        "out": str(screenshots),
    }
    done = subprocess.run(
        [NODE, SCRIPT, json.dumps(given)],
        env=os.environ | browser.environment,
        capture_output=True,
        text=True,
        timeout=ALL_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Seen(json.loads(done.stdout), screenshots)
