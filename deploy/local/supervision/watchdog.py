"""Clean up after a supervisor that was killed: `watchdog.py RUN_ID FOLDER`.

The supervisor holds the other end of standard input. It writes a byte there
when it has stopped everything itself; end of file without a byte means that it
was killed. Then the watchdog ends every process of the run, deletes the
temporary files, and ends. The kernel ends the supervisor's own children
(die_with_parent.py); the watchdog finds their descendants too.
"""

import os
import sys
from pathlib import Path

# As a script: the packages are in the clone's root.
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from deploy.local.data_folder import DataFolder
from deploy.local.supervision import takeover
from deploy.local.supervision.stack_state import StackState

if __name__ == "__main__":
    run_id, folder = sys.argv[1], DataFolder(Path(sys.argv[2]))
    if not os.read(0, 1):
        with takeover.hold(folder, previous_is_ending=True):
            state = StackState.read(folder.state)
            if state and state.run_id == run_id:
                takeover.end_leftovers(folder)
