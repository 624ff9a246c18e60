"""The quarantine commands find one content by the beginning of its hash, and name no patient."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from deploy.commands.output import table
from deploy.commands.quarantine import group as quarantine
from deploy.errors import Failed
from gateway.intake.status import MEANINGS
from operators.connectors.memory.catalog import MemoryCatalog, MemoryHiddenRows
from schemas.events import InstanceQuarantined
from tests.support.worlds.catalog_histories import numbered, quarantined, run


def hidden_rows(*events: InstanceQuarantined) -> MemoryHiddenRows:
    catalog = MemoryCatalog()
    run(catalog, [numbered(events)])
    return MemoryHiddenRows(tables=catalog.tables)


def test_the_beginning_of_a_hash_is_enough_if_only_one_hash_has_it() -> None:
    rows = hidden_rows(quarantined("p"), quarantined("q"))
    (row, other) = rows.quarantined(None, 9)

    assert quarantine.find_row(rows, row.data_hash[:6], None) == row
    assert quarantine.find_row(rows, other.data_hash, "local") == other


@pytest.mark.parametrize("url", ["http://127.0.0.1:8060/dicomweb", "http://127.0.0.1:8060/dicomweb/"])
def test_a_base_url_may_end_with_a_slash(url: str) -> None:
    assert quarantine.http_url(url) == "http://127.0.0.1:8060/dicomweb"


@pytest.mark.parametrize(
    ("beginning", "message"), [("0123abcd", "no content in quarantine"), ("", "more than one hash begins with")]
)
def test_a_beginning_of_no_hash_or_of_several_hashes_is_a_problem(beginning: str, message: str) -> None:
    with pytest.raises(Failed, match=message):
        quarantine.find_row(hidden_rows(quarantined("p"), quarantined("q")), beginning, None)


def test_the_list_has_a_column_for_each_heading() -> None:
    (row,) = hidden_rows(quarantined("p")).quarantined(None, 1)
    headings, columns = table(quarantine.HEADINGS, [quarantine.columns(row)]).splitlines()

    assert headings.split() == list(quarantine.HEADINGS)
    assert columns.startswith(row.data_hash[:16])


@pytest.mark.parametrize(("calling_ae", "sender"), [("CT1", "CT1"), ("", "-")])
def test_the_list_names_a_sender_by_its_title_or_not_at_all(calling_ae: str, sender: str) -> None:
    (row,) = hidden_rows(quarantined("p")).quarantined(None, 1)
    columns = quarantine.columns(replace(row, calling_ae=calling_ae))

    (_, cells) = table(quarantine.HEADINGS, [columns]).splitlines()
    assert cells.split()[quarantine.HEADINGS.index("FROM")] == sender


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        ({}, quarantine.FILE),
        ({"prefix_hash": sha256(b"").hexdigest()}, quarantine.DATA_SET),
        ({"calling_ae": "", "called_ae": ""}, quarantine.PART),
        ({"calling_ae": "", "called_ae": "", "prefix_hash": sha256(b"").hexdigest()}, quarantine.PART),
    ],
    ids=["C-STORE", "C-STORE without a usable UID", "STOW-RS", "STOW-RS, no DICOM file"],
)
def test_a_content_is_shown_with_what_its_bytes_are_and_what_its_reason_means(
    changed: dict[str, Any], kept: str
) -> None:
    (row,) = hidden_rows(quarantined("p")).quarantined(None, 1)
    shown = quarantine.described(replace(row, **changed))

    assert (shown["kept_as"], shown["meaning"]) == (kept, MEANINGS["no-usable-uid"])
    assert shown["reason"] == "no-usable-uid"
