"""Make what servers hold before anyone uses them: `python -m deploy.prepare topics|buckets|catalog`.

What is there stays. Settings come from the environment; a server that does not answer yet is asked again for a while.
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

PATIENCE_S = 30.0
AGAIN_S = 0.2
FOR_EVER = (
    "WARNING: this object store takes no lifecycle rules. What is in {bucket} stays there beyond its {days} days,"
    " counts against the quotas, and is yours to remove: python -m deploy.commands quarantine discard"
)


async def topics() -> None:
    """Make the topics of the registry."""
    from operators.connectors.kafka.log import create_topics  # noqa: PLC0415 - each start pays for its own client alone

    await create_topics(load(BrokerSettings, os.environ))


async def buckets() -> None:
    """Make the buckets, and have the store empty the quarantine of what is old, if it can."""
    from operators.connectors.s3.store import S3ObjectStore  # noqa: PLC0415

    days = load(QuarantineSettings, os.environ).days
    async with S3ObjectStore(load(StoreSettings, os.environ)) as store:
        await store.make_buckets()
        if not await store.expire(Bucket.QUARANTINE, days):
            print(FOR_EVER.format(bucket=Bucket.QUARANTINE, days=days), file=sys.stderr, flush=True)


async def catalog() -> None:
    """Bring the catalog's tables to the newest DDL."""
    from operators.connectors.postgres.migrations import apply  # noqa: PLC0415

    await apply(load(CatalogSettings, os.environ))


PREPARATIONS: dict[str, Callable[[], Awaitable[None]]] = {"topics": topics, "buckets": buckets, "catalog": catalog}


async def patiently(prepare: Callable[[], Awaitable[None]]) -> None:
    """Do it as soon as the server answers; raises Unavailable when it does not in time."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            await prepare()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(AGAIN_S)
        else:
            return


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 made, 2 for settings that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m deploy.prepare", description=__doc__)
    parser.add_argument("what", choices=PREPARATIONS)
    prepare = PREPARATIONS[parser.parse_args(arguments).what]
    try:
        asyncio.run(patiently(prepare))
    except SettingsError as error:
        print(error, file=sys.stderr, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
