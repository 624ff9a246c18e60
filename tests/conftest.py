"""The fixtures of every test, and the profile of Hypothesis."""

import os
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from tests.support.data.corpus import corpus_folder
from tests.support.machine.debian_tools import Programs, ProgramsUnavailable
from tests.support.machine.debian_tools import dcmtk as fetch_dcmtk
from tests.support.machine.debian_tools import prometheus as fetch_prometheus

# The duration of an example depends more on the machine's other work than on the code.
settings.register_profile("fluoro", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fluoro")


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Return the folder of real DICOM files; skip where it is absent."""
    folder = corpus_folder()
    if folder is None:
        pytest.skip("set FLUORO_CORPUS to a folder of DICOM files")
    return folder


@pytest.fixture(scope="session")
def dcmtk() -> Programs:
    """Return dcmtk's programs; skip, or fail where CI is set, when they cannot be fetched."""
    try:
        return fetch_dcmtk()
    except ProgramsUnavailable as why:
        absent(f"dcmtk: {why}")


@pytest.fixture(scope="session")
def prometheus_programs() -> Programs:
    """Return Prometheus and promtool; skip, or fail where CI is set, when they cannot be fetched."""
    try:
        return fetch_prometheus()
    except ProgramsUnavailable as why:
        absent(f"prometheus: {why}")


def absent(reason: str) -> NoReturn:
    """Skip a test that this machine cannot run; fail it where CI is set."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
