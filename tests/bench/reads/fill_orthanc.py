"""Fills an Orthanc with the studies that fill_catalog writes into our catalog: one small instance each, by STOW-RS."""

import http.client
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.parse import urlsplit

from schemas.events import InstanceStored
from tests.bench.archives import Archive
from tests.bench.fill_catalog import events
from tests.bench.ingest.senders import SENDER_S, post
from tests.support.worlds.reading import part10

CLIENTS = 4


def fill(studies: int, archive: Archive) -> None:
    """Store this number of studies."""
    every = list(events(studies))
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(partial(store, archive), (every[client::CLIENTS] for client in range(CLIENTS))))


def store(archive: Archive, some: Iterable[InstanceStored]) -> None:
    """Store instances one after the other."""
    origin = urlsplit(archive.dicomweb)
    connection = http.client.HTTPConnection(origin.netloc, timeout=SENDER_S)
    try:
        for event in some:
            post(connection, f"{origin.path}/studies", file(event))
    finally:
        connection.close()


def file(event: InstanceStored) -> bytes:
    """Return a file with the UIDs and facts of an event by which studies are searched for."""
    facts = event.facts
    return part10(
        SpecificCharacterSet="ISO_IR 192",
        StudyInstanceUID=event.study_uid,
        SeriesInstanceUID=event.series_uid,
        SOPInstanceUID=event.sop_uid,
        PatientName=facts.patient_name,
        PatientID=facts.patient_id,
        AccessionNumber=facts.accession_number,
        StudyDate=facts.study_date,
        StudyID=facts.study_id,
    )
