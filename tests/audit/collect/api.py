"""The answers of an archive's read API: QIDO and WADO, as a viewer asks for them."""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import httpx

from tests.audit.address import ArchiveAddress
from tests.audit.ledger import Line
from tests.audit.part10 import read_meta
from tests.audit.snapshot import Counts, Name, Series, Study, name_of

PAGE = 1000
CHUNK = 1 << 20
READERS = 8
PATIENCE_S = 10.0
AS_STORED = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
PART_BEGINS = b"\r\n\r\n"
# The bytes around the boundary that closes an answer: two lines' ends and four hyphens, and room for an epilogue.
ENDS = 64

STUDY, SERIES, SOP = "0020000D", "0020000E", "00080018"
Answer = Mapping[str, Any]


class Api:
    """A client of QIDO and WADO, as a viewer is one; `retried_reads` are the paths that were answered with 503."""

    def __init__(self, address: ArchiveAddress) -> None:
        self._address = address
        self.retried_reads: list[str] = []
        self._http = httpx.Client(base_url=address.api, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def answers(self) -> dict[str, Any]:
        """Return the fields of a Snapshot that come from QIDO: all studies, series and instances."""
        tenant = self._address.tenant
        return {
            "qido_instances": tuple(Name(tenant, one(row, STUDY), one(row, SOP)) for row in self.pages("instances")),
            "qido_studies": tuple(
                (Study(tenant, one(row, STUDY)), answered_study(row)) for row in self.pages("studies")
            ),
            "qido_series": tuple(
                (Series(tenant, one(row, STUDY), one(row, SERIES)), Counts(instances=number(row, "00201209")))
                for row in self.pages("series")
            ),
        }

    def pages(self, resource: str) -> Iterator[Answer]:
        """Yield every match of a search without conditions, page by page."""
        offset = 0
        while page := self.search(resource, limit=PAGE, offset=offset):
            yield from page
            offset += len(page)

    def search(self, resource: str, **parameters: Any) -> list[Answer]:
        """Return the matches of a search (PS3.18 10.6)."""
        answer = self._http.get(
            f"/dicomweb/{resource}", params=parameters, headers={"Accept": "application/dicom+json"}
        )
        answer.raise_for_status()
        return list(answer.json()) if answer.status_code != httpx.codes.NO_CONTENT else []

    def counted(self, study_uid: str) -> int:
        """Return how many instances QIDO counts in a study; 0 for an unknown study."""
        found = self.search("studies", StudyInstanceUID=study_uid, includefield="00201208")
        return number(found[0], "00201208") or 0 if found else 0

    def ask_for(self, token: str) -> None:
        """Search by a patient's name and ID, as a viewer does: neither may reach a log."""
        self.search("studies", PatientName=f"{token}*")
        self.search("studies", PatientID=f"ID{token}")
        self._http.get(f"/dicomweb/studies/{token}")

    def fetched(self, lines: Sequence[Line]) -> dict[Name, str]:
        """Return the data hash of what WADO answers for each of these instances, or its status if that is not 200."""
        with ThreadPoolExecutor(READERS) as pool:
            return dict(zip(map(name_of, lines), pool.map(self.fetch, lines), strict=True))

    def fetch(self, line: Line) -> str:
        """Retrieve one instance as stored (PS3.18 10.4), and return the hash of its data set, or `status` and its code.

        The request is repeated for a while when the answer is 503.
        """
        path = f"/dicomweb/studies/{line.study_uid}/series/{line.series_uid}/instances/{line.sop_uid}"
        until = time.monotonic() + PATIENCE_S
        while True:
            with self._http.stream("GET", path, headers=AS_STORED) as answer:
                if answer.status_code == httpx.codes.OK:
                    return hash_of_answer(answer.headers["content-type"], answer.iter_bytes(CHUNK))
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > until:
                return f"status {answer.status_code}"
            self.retried_reads.append(path)
            time.sleep(0.2)

    def metrics(self) -> Iterator[tuple[str, bytes]]:
        """Yield the metrics of each process, named by its address."""
        for url in (f"{self._address.api}/metrics", *self._address.metrics):
            yield f"metrics {url.split('//')[-1].split('/')[0]}", httpx.get(url, timeout=10).content


def one(row: Answer, tag: str) -> str:
    """Return an attribute's first value as text."""
    return str(row[tag]["Value"][0])


def number(row: Answer, tag: str) -> int | None:
    """Return an attribute's number; None when the answer has none."""
    values = row.get(tag, {}).get("Value")
    return int(values[0]) if values else None


def answered_study(row: Answer) -> Counts:
    """Read the counts in QIDO's answer for a study (PS3.4 C.3.4)."""
    modalities = row.get("00080061", {}).get("Value")
    return Counts(
        instances=number(row, "00201208"),
        series=number(row, "00201206"),
        modalities=tuple(sorted(modalities)) if modalities else None,
    )


def hash_of_answer(content_type: str, chunks: Iterator[bytes]) -> str:
    """Return the data hash of the only part of a multipart answer, of which two chunks are kept: it may be several GiB."""
    # The part's headers and its file meta are in the first bytes, the closing boundary is in the last ones.
    first, last = next(chunks), len(boundary_of(content_type)) + ENDS
    held = first[first.index(PART_BEGINS) + len(PART_BEGINS) :]
    begins, syntax, *_ = read_meta(held)
    digest, held = hashlib.sha256(syntax.encode() + b"\0"), held[begins:]
    for chunk in chunks:
        held += chunk
        digest.update(memoryview(held)[:-last])
        held = held[-last:]
    digest.update(held[: held.rindex(b"\r\n--" + boundary_of(content_type))])
    return digest.hexdigest()


def only_part(answer: httpx.Response) -> memoryview:
    """Return the only part of a multipart response, without a copy: it may be several GiB."""
    begins = answer.content.index(PART_BEGINS) + len(PART_BEGINS)
    ends = answer.content.rindex(b"\r\n--" + boundary_of(answer.headers["content-type"]))
    return memoryview(answer.content)[begins:ends]


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a multipart answer's Content-Type names."""
    return content_type.partition("boundary=")[2].partition(";")[0].strip('"').encode()
