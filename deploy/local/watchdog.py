"""Outlive a supervisor that was killed, end all that it started, delete their temporary files, and end.

`watchdog.py RUN FOLDER`: the supervisor holds the other end of standard input;
a line there says that it has stopped everything itself. The kernel ends the
supervisor's own children (leash.py); this finds their descendants too.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script: the clone is where its packages are

from deploy.local import places

if __name__ == "__main__":
    run, folder = sys.argv[1], places.Place(Path(sys.argv[2]))
    if not os.read(0, 1):
        with places.held(folder, is_ending=True):
            state = places.State.read(folder.state)
            if state and state.run == run:
                places.sweep(folder)
