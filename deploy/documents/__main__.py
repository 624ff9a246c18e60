"""Write what is made of the registries of topics and of metrics, of the dashboards' tables, and of measured costs: `python -m deploy.documents`."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from deploy.documents import asyncapi, metrics, page, policies
from deploy.monitoring import grafana
from deploy.monitoring.panels import DASHBOARDS
from deploy.sizing import page as sizing

ROOT = Path(__file__).parents[2]
DOCUMENTS: Mapping[str, Callable[[], str]] = {
    "docs/topics.md": page.text,
    "docs/asyncapi.json": asyncapi.text,
    "docs/policies.md": policies.text,
    "docs/metrics.md": metrics.text,
    "docs/sizing.md": sizing.text,
    **{f"deploy/monitoring/dashboards/{one.name}.json": partial(grafana.text, one) for one in DASHBOARDS},
}


def main() -> None:
    """Write each document, and print its path."""
    for name, text in DOCUMENTS.items():
        (ROOT / name).write_text(text(), encoding="utf-8")
        print(ROOT / name)


if __name__ == "__main__":
    main()
