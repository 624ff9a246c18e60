"""The study job, for `flink run -py flink-jobs/study.py`; settings come from the environment.

The `flink` is that of `python -m deploy.flink.package` (docs/operations.md). What refuses a start, and what a script
cannot know, is in pipelines/launch/script.py.
"""

import os
import sys

from pipelines.jobs import STUDY
from pipelines.launch.script import main

if __name__ == "__main__":
    sys.exit(main(STUDY, os.environ))
