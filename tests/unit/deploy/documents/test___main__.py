"""The documents about topics are what registry and schemas say today."""

from pathlib import Path

import pytest

from deploy.documents import __main__ as documents


@pytest.mark.parametrize("name", documents.DOCUMENTS)
def test_a_document_is_as_it_is_generated(name: str) -> None:
    there = (documents.ROOT / name).read_text(encoding="utf-8")

    assert there == documents.DOCUMENTS[name](), "run python -m deploy.documents"


def test_the_command_writes_every_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "ROOT", tmp_path)
    for name in documents.DOCUMENTS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    documents.main()

    written = (path for path in tmp_path.rglob("*") if path.is_file())
    assert {str(path.relative_to(tmp_path)) for path in written} == set(documents.DOCUMENTS)


def test_no_dashboard_lies_there_that_is_not_generated() -> None:
    there = (documents.ROOT / "deploy/monitoring/dashboards").iterdir()

    assert {str(path.relative_to(documents.ROOT)) for path in there} <= set(documents.DOCUMENTS)
