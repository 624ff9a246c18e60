"""The service's own address says what is below it (CONFORMANCE.md, DICOMweb)."""

import asyncio

import httpx
import pytest

from api.app import DICOMWEB
from operators.http.address import ROOT as SERVICE
from tests.support.worlds.reading import ROOT, World

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


def ask(path: str, accept: str) -> httpx.Response:
    return asyncio.run(World().get(path, accept=accept))


@pytest.mark.parametrize("path", [SERVICE, f"{SERVICE}/"])
@pytest.mark.parametrize("accept", ["*/*", "application/json"])
def test_a_program_gets_every_resource_with_its_whole_address(path: str, accept: str) -> None:
    response = ask(path, accept)

    assert response.headers["content-type"] == "application/json"
    found = response.json()["resources"]
    assert [each["what"] for each in found if each["methods"] == ["POST"]]
    readable = [each["address"] for each in found if "GET" in each["methods"]]
    assert readable == [ROOT + template.replace("{path:path}", "{path}") for template, _, _ in DICOMWEB]


@pytest.mark.parametrize("path", [SERVICE, f"{SERVICE}/"])
def test_a_browser_gets_a_page_that_leads_to_the_lists(path: str) -> None:
    response = ask(path, BROWSER)

    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert f'<a href="{ROOT}{SERVICE}/studies">' in response.text
    assert "/metadata" in response.text


def test_a_client_that_takes_neither_is_406() -> None:
    assert ask(SERVICE, "application/dicom+json").status_code == 406
