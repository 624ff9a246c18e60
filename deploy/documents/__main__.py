"""Write the documents that are made of the registries of topics and of metrics: `python -m deploy.documents`."""

from pathlib import Path

from deploy.documents import asyncapi, metrics, page

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENTS = {"topics.md": page.text, "asyncapi.json": asyncapi.text, "metrics.md": metrics.text}


def main() -> None:
    """Write each document, and print its path."""
    for name, text in DOCUMENTS.items():
        (DOCS / name).write_text(text(), encoding="utf-8")
        print(DOCS / name)


if __name__ == "__main__":
    main()
