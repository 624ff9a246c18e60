"""The documents name only what the repository has: files, modules, settings, and the codes that people watch for."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.commands.__main__ import COMMANDS
from gateway.intake.status import STATUSES

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
# History: what a change moved away is named there by its old name.
HISTORIES = ("CHANGELOG.md", "DECISIONS.md")
CODE = re.compile(r"(?P<planned>\*)?`(?P<text>[^`\n]+)`")
TOP = ("schemas", "operators", "gateway", "api", "pipelines", "flink-jobs", "deploy", "docs", "tests")
PATH = re.compile(rf"(?:{'|'.join(TOP)})/[\w./-]*")
MODULE = re.compile(r"python3? -m ([\w.]+)")
SETTING = re.compile(r"FLUORO_[A-Z0-9_]*[A-Z0-9]")
INSTALLATION = ("FLUORO_DATA", "FLUORO_CACHE", "FLUORO_MINIO", "FLUORO_CORPUS", "FLUORO_TESTS")
# What makes a run of a test larger than in `make test`.
LARGER = (
    "FLUORO_TEST_INSTANCES",
    "FLUORO_TEST_KILLS",
    "FLUORO_TEST_SEED",
    "FLUORO_TEST_FAULTS",
    "FLUORO_TEST_SOAK_S",
    "FLUORO_TEST_PAIRS",
)
OTHERS_PROGRAMS = ("pynetdicom",)
# A path with a part to fill in, or made of letters that stand for any name.
EXAMPLE = r"[<{*]|\ba/b/"


def documents(*, with_histories: bool = False) -> list[Path]:
    return [path for path in DOCUMENTS if with_histories or path.name not in HISTORIES]


def snippets(document: Path) -> Iterator[tuple[bool, str]]:
    """Every text in backticks, and whether it is in italics too: such a folder is still to be made."""
    for found in CODE.finditer(document.read_text(encoding="utf-8")):
        yield found["planned"] is not None, found["text"]


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_every_path_that_a_document_names_exists_unless_it_is_in_italics(document: Path) -> None:
    texts = [text for is_planned, text in snippets(document) if not is_planned and not re.search(EXAMPLE, text)]
    missing = {
        text for text in texts for path in PATH.findall(text) if text.startswith(path) and not (ROOT / path).exists()
    }

    assert not missing, "correct these, or put them in italics when they are still to be made"


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_every_module_that_a_document_runs_exists(document: Path) -> None:
    modules = {name.rstrip(".") for name in MODULE.findall(document.read_text(encoding="utf-8"))}

    assert not {name for name in modules if name not in OTHERS_PROGRAMS and importlib.util.find_spec(name) is None}


@pytest.mark.parametrize("document", documents(), ids=lambda path: path.name)
def test_every_setting_that_a_document_names_is_one(document: Path) -> None:
    known = set(SETTING.findall((ROOT / ".env.example").read_text(encoding="utf-8"))) | {*INSTALLATION, *LARGER}
    text = re.sub(r"`FLUORO_[A-Z_]+(_\*|\*)`", "", document.read_text(encoding="utf-8"))

    named = {name.removesuffix("_FILE") if name not in known else name for name in SETTING.findall(text)}
    assert not named - known


def test_the_outcomes_that_operators_watch_are_counted_under_these_names() -> None:
    row = re.search(r"fluoro_gateway_instances_total\{outcome\}.*", (ROOT / "docs/operations.md").read_text("utf-8"))
    assert row

    assert set(re.findall(r"`([a-z][a-z-]+)`", row[0])) <= {status.outcome for status in STATUSES}


@pytest.mark.parametrize("document", ["README.md", "docs/operations.md"])
def test_every_group_of_operators_commands_is_named_where_people_look_for_one(document: str) -> None:
    text = (ROOT / document).read_text("utf-8")

    assert not {one.name for one in COMMANDS if f"deploy.commands {one.name}" not in text}
