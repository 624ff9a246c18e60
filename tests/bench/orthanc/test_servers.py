"""Orthanc runs beside a benchmark on loopback, and a benchmark's senders reach it."""

from pathlib import Path

import pytest

from tests.bench.ingest import loads, senders
from tests.bench.ingest.section import until_queryable
from tests.bench.machine.meter import metered
from tests.bench.orthanc.servers import settings, with_sqlite
from tests.conftest import absent
from tests.support.machine.debian_tools import Programs, ProgramsUnavailable, orthanc


@pytest.fixture(scope="session")
def orthanc_programs() -> Programs:
    """Return Orthanc; skip, or fail where CI is set, when it cannot be fetched."""
    try:
        return orthanc()
    except ProgramsUnavailable as why:
        absent(f"orthanc: {why}")


def test_orthanc_takes_nothing_from_another_machine(tmp_path: Path) -> None:
    set_up = settings(Programs(tmp_path), tmp_path, 8042, 4242)

    assert set_up["HttpBindAddresses"] == ["127.0.0.1"]
    assert (set_up["DicomAlwaysAllowStore"], set_up["DicomCheckModalityHost"]) == (False, True)
    assert {host for _, host, _ in set_up["DicomModalities"].values()} == {"127.0.0.1"}


def test_both_kinds_of_senders_store_in_orthanc(orthanc_programs: Programs, dcmtk: Programs, tmp_path: Path) -> None:
    by_dimse = loads.small(2, 3, 1, tmp_path / "dimse")
    by_http = loads.small(2, 3, 2, tmp_path / "http")

    with with_sqlite(orthanc_programs, tmp_path / "orthanc") as archive, metered(archive.heads) as cost:
        senders.storescu(dcmtk, archive, by_dimse)
        times_s = senders.stow(archive, by_http)

        until_queryable(archive, by_dimse)
        until_queryable(archive, by_http)

    assert len(times_s) == 6
    assert cost.used.families["Orthanc"] > 0
