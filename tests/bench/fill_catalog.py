"""Fills a catalog with studies of one instance, as the catalog job would: `python -m tests.bench.fill_catalog COUNT`.

The database is that of FLUORO_CATALOG_*, as writer. The same count writes the same rows.
"""

import argparse
import itertools
import os
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

from operators.connectors.postgres.catalog import PostgresCatalog
from operators.stream.step import Record
from schemas.codec import decode, encode
from schemas.events import InstanceStored, event_id
from schemas.objects import Identity
from schemas.settings.reading import load
from schemas.settings.servers import CatalogSettings
from schemas.topics import INSTANCE_STORED, study_key
from tests.support.machine.arguments import count
from tests.support.worlds.reading import cataloged, part10, stored

ROOT = "1.2.826.0.1.3680043.2.1"
FAMILIES = ("Müller", "Smith", "Nguyen", "García", "Jones", "Ivanova", "Tanaka", "Rossi", "Dubois", "Novák", "Silva")
GIVEN = ("Anna", "Ben", "Chloé", "David", "Eva", "Frank", "Grace", "Hans", "Ida", "José")
BATCH = 500


def study(template: InstanceStored, number: int, luck: random.Random) -> InstanceStored:
    """Return the event of an instance in a study of its own."""
    uid = f"{ROOT}.{number}"
    identity = Identity("local", uid, f"{uid}.1", f"{uid}.1.1", template.data_hash)
    facts = replace(
        template.facts,
        patient_name=f"{luck.choice(FAMILIES)}{number % 97}^{luck.choice(GIVEN)}",
        patient_id=f"PID{number // 2:06}",
        accession_number=f"ACC{number:07}",
        study_date=f"{date(2016, 1, 1) + timedelta(days=luck.randrange(3650)):%Y%m%d}",
        study_id=str(number),
    )
    return replace(
        template,
        event_id=event_id("instance-stored", "local", uid, identity.sop_uid, identity.data_hash),
        study_uid=uid,
        series_uid=identity.series_uid,
        sop_uid=identity.sop_uid,
        object_key=identity.key,
        facts=facts,
    )


def events(studies: int) -> Iterator[InstanceStored]:
    """Yield the event of each study; the same number yields the same events."""
    template, luck = decode(stored(part10(), 0)[1].value), random.Random(1)
    assert isinstance(template, InstanceStored)
    for number in range(studies):
        yield study(template, number, luck)


def fill(studies: int, settings: CatalogSettings) -> None:
    """Write the rows of this number of studies as the role that these settings name."""
    every = events(studies)
    with PostgresCatalog(settings) as catalog:
        while batch := [record(event) for event in itertools.islice(every, BATCH)]:
            cataloged(catalog, batch)


def record(event: InstanceStored) -> Record:
    """Return an event as a record of its topic."""
    return Record(INSTANCE_STORED.name, 0, 0, 0, study_key(event.tenant, event.study_uid), encode(event))


def main() -> None:
    """Fill from the command line."""
    wanted = argparse.ArgumentParser(prog="python -m tests.bench.fill_catalog", description=__doc__)
    wanted.add_argument("count", type=count(1), help="studies")
    fill(wanted.parse_args().count, load(CatalogSettings, os.environ))


if __name__ == "__main__":
    main()
