"""The documents about topics are what registry and schemas say today."""

from pathlib import Path

import pytest

from deploy.documents import __main__ as documents


@pytest.mark.parametrize("name", documents.DOCUMENTS)
def test_a_document_is_as_it_is_generated(name: str) -> None:
    there = (documents.DOCS / name).read_text(encoding="utf-8")

    assert there == documents.DOCUMENTS[name](), "run python -m deploy.documents"


def test_the_command_writes_every_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "DOCS", tmp_path)
    documents.main()

    assert {path.name for path in tmp_path.iterdir()} == set(documents.DOCUMENTS)
