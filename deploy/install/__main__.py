"""Install everything that Fluoro runs on: `python3 -m deploy.install`.

Needs Python 3.11 or 3.12 (with venv and its shared library), git and make;
the rest is fetched by pip, uv, jgo and Go from their registries, pinned by
hash. What is installed already is not installed again. Standard library
only.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import TYPE_CHECKING

from deploy.errors import Failed
from deploy.install import layout
from deploy.install.file_lock import locked
from deploy.install.installer import install, say

if TYPE_CHECKING:
    from collections.abc import Sequence

SETTINGS = (
    "Settings: FLUORO_CACHE, the folder of the servers that clones share (as root: /var/cache/fluoro);"
    " FLUORO_MINIO, a MinIO server to use instead of building one."
)


def interrupt(*_: object) -> None:
    """End on TERM in the same way as on Ctrl-C."""
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Install; exit status 0 when everything is installed, 1 with the problem printed, 130 when it was stopped."""
    parser = argparse.ArgumentParser(
        prog="python3 -m deploy.install",
        description=__doc__,
        epilog=SETTINGS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    # PostgreSQL may run as another user, which must be able to read the cache.
    os.umask(0o022)
    signal.signal(signal.SIGTERM, interrupt)
    here = layout.here()
    try:
        with locked(here.tools / "install.lock", say):
            install(here)
    except Failed as failure:
        say(f"Not installed. {failure}" if "\n" not in str(failure) else f"Not installed.\n{failure}")
        return 1
    except KeyboardInterrupt:
        say("Stopped. Complete parts stay; run it again to go on.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
