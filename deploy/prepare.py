"""Create topics, buckets or tables on a server before first use: `python -m deploy.prepare topics|buckets|catalog`.

What exists already is left unchanged, save for the few settings of topics that the archive cannot do without. Settings
come from the environment. A server that does not answer is tried again for half a minute.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

from operators.errors import Unavailable
from schemas.objects import Bucket
from schemas.settings.intake import QuarantineSettings
from schemas.settings.reading import SettingsError, load
from schemas.settings.servers import BrokerSettings, CatalogSettings, StoreSettings
from schemas.telemetry import set_up_logs

WAIT_S = 30.0
RETRY_S = 0.2
NO_LIFECYCLE = (
    "WARNING: this object store has no lifecycle rules. Objects stay in {bucket} longer than {days} days and count"
    " against the quotas until you remove them: python -m deploy.commands quarantine discard"
)


async def topics() -> None:
    """Create every topic of schemas/topics.py, and alter those of other hands where the archive needs it."""
    from operators.connectors.kafka.topics import prepare_topics  # noqa: PLC0415 - each preparation imports only its own client

    await prepare_topics(load(BrokerSettings, os.environ))


async def buckets() -> None:
    """Create the buckets, and have the store delete old objects of the quarantine, if it can."""
    from operators.connectors.s3.store import S3ObjectStore  # noqa: PLC0415

    days = load(QuarantineSettings, os.environ).days
    async with S3ObjectStore(load(StoreSettings, os.environ)) as store:
        await store.make_buckets()
        if not await store.expire(Bucket.QUARANTINE, days):
            print(NO_LIFECYCLE.format(bucket=Bucket.QUARANTINE, days=days), file=sys.stderr, flush=True)


async def catalog() -> None:
    """Apply every migration that the catalog does not have yet."""
    from operators.connectors.postgres.migrations import apply  # noqa: PLC0415

    await apply(load(CatalogSettings, os.environ))


PREPARATIONS: dict[str, Callable[[], Awaitable[None]]] = {"topics": topics, "buckets": buckets, "catalog": catalog}


async def when_available(prepare: Callable[[], Awaitable[None]]) -> None:
    """Prepare a server as soon as it answers; raises Unavailable when it does not within WAIT_S."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            await prepare()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(RETRY_S)
        else:
            return


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare what the argument names; return the exit status.

    It is 0 when done, 1 when the server does not answer, 2 for settings that cannot be used.
    """
    parser = argparse.ArgumentParser(prog="python -m deploy.prepare", description=__doc__)
    parser.add_argument("what", choices=PREPARATIONS)
    prepare = PREPARATIONS[parser.parse_args(arguments).what]
    try:
        asyncio.run(when_available(prepare))
    except SettingsError as error:
        print(error, file=sys.stderr, flush=True)
        return 2
    except Unavailable as error:
        print(f"the {error.what} does not answer, or refuses: {error.__cause__}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    set_up_logs("prepare")
    sys.exit(main())
