"""The entry of `python -m pipelines.batch.replay`."""

import sys

from pipelines.batch.terminal import started

if __name__ == "__main__":
    sys.exit(started("replay"))
