"""The repository keeps the rules of its structure and its language: small rooms, small functions, one name for one thing."""

import ast
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from statistics import median, quantiles
from typing import TypeVar

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "operators", "gateway", "api", "pipelines", "deploy", "flink-jobs")

FOLDER_FILES = 14
# The steps of the tables' definition: one numbered series, of which none is ever changed or taken away.
SERIES = Path("schemas/catalog")
MEDIAN_LINES = 6
LONG_LINES = 25
CLASS_METHODS = 30
LOG_LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
SNAKE_CASE = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
# A docstring begins with what a function returns or does: "Return", "Store", "True if".
INDIRECT_OPENING = re.compile(r"(Gives?|Says?|Tells?|Whether)\b")

# Modules without a unit test of their own: what begins with this path, and where it is tested. The longest path counts.
TESTED_ELSEWHERE = {
    "operators/connectors/": "tests/integration/connectors",
    "operators/connectors/kafka/reading.py": "tests/integration/stack/test_reading_topics.py",
    "operators/connectors/kafka/sending.py": "tests/integration/jobs/test_replay.py",
    "operators/connectors/postgres/connecting.py": "tests/integration/connectors/test_catalog.py",
    "operators/connectors/postgres/hidden_rows.py": "tests/integration/stack/test_quarantine_and_conflicts.py",
    "pipelines/batch/replay/dead_letters.py": "tests/integration/jobs/test_replay.py",
    "pipelines/engines/": "tests/integration/jobs",
    "pipelines/streaming/": "tests/integration/jobs",
    "operators/rebuild/instances.py": "tests/unit/pipelines/batch/rebuild/test_reading.py",
    "flink-jobs/": "tests/integration/jobs/test_flink_run.py",
    "gateway/dimse/": "tests/integration/gateway",
    "gateway/process.py": "tests/integration/gateway/test_process.py",
    "gateway/__main__.py": "tests/integration/gateway/test_process.py",
    "deploy/web.py": "tests/integration/web/test_process.py",
    "deploy/demo/": "tests/integration/stack/test_local.py",
    "deploy/flink/": "tests/integration/jobs",
    "deploy/local/": "tests/integration/stack/test_local.py",
    "deploy/install/components/fetch_jars.py": "tests/unit/deploy/install/components/test_jars.py",
    "deploy/install/disk.py": "tests/unit/deploy/install/test_preflight.py",
    "schemas/settings/": "tests/unit/schemas/settings/test_reading.py",
}

# The one module that makes tasks, and the calls that only it may make. Ruff sees asyncio's functions, not a loop's or a group's.
TASKS = Path("operators/tasks.py")
TASK_MAKERS = frozenset({"create_task", "ensure_future", "Task"})

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Node = TypeVar("Node", bound=ast.AST)


@cache
def tracked_files() -> tuple[Path, ...]:
    """Return the repository's files, new ones too, as paths below its root; ignored ones are left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return tuple(path for path in map(Path, listed) if (ROOT / path).is_file())


@cache
def trees() -> dict[Path, ast.Module]:
    """Return the syntax tree of every Python file."""
    return {path: ast.parse((ROOT / path).read_text()) for path in tracked_files() if path.suffix == ".py"}


def is_product(path: Path) -> bool:
    """True if a file belongs to the product, not to its tests."""
    return path.parts[0] in PACKAGES


def nodes(kind: type[Node]) -> Iterator[tuple[Path, Node]]:
    """Yield every node of a kind with its file."""
    for path, tree in trees().items():
        yield from ((path, node) for node in ast.walk(tree) if isinstance(node, kind))


def functions() -> Iterator[tuple[Path, FunctionNode]]:
    """Yield every function and method with its file."""
    yield from nodes(ast.FunctionDef)
    yield from nodes(ast.AsyncFunctionDef)


def product_function_lines() -> dict[str, int]:
    """Return the lines of every function of the product, by its place and name."""
    return {
        f"{path}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path, node in functions()
        if is_product(path)
    }


def methods(node: ast.ClassDef) -> int:
    """Return the number of methods that a class defines."""
    return sum(isinstance(one, FunctionNode) for one in node.body)


def log_events() -> Iterator[tuple[Path, ast.Call, str]]:
    """Yield every event that is logged under a literal name."""
    for path, call in nodes(ast.Call):
        match call:
            case ast.Call(ast.Attribute(ast.Name("log"), level), [ast.Constant(str(event)), *_]) if level in LOG_LEVELS:
                yield path, call, event


def listing(advice: str, found: Iterable[str]) -> str:
    """Return a message: what to do, and where."""
    return "\n".join([f"{advice}:", *found])


def test_every_folder_has_at_most_14_files_of_its_own() -> None:
    counts = Counter(path.parent for path in tracked_files() if path.parent not in (Path(), SERIES))
    crowded = [f"{folder}: {count} files" for folder, count in counts.items() if count > FOLDER_FILES]

    assert not crowded, listing("divide these folders by idea", crowded)


def test_half_of_the_products_functions_have_at_most_6_lines() -> None:
    assert median(product_function_lines().values()) <= MEDIAN_LINES, "write smaller functions: one thought each"


def test_99_in_100_of_the_products_functions_have_at_most_25_lines() -> None:
    lines = product_function_lines()
    longest = sorted((name for name, count in lines.items() if count > LONG_LINES), key=lambda name: -lines[name])

    assert quantiles(lines.values(), n=100)[-1] <= LONG_LINES, listing("divide the longest functions", longest)


def test_no_class_has_more_than_30_methods() -> None:
    large = [f"{path}:{node.lineno} {node.name}" for path, node in nodes(ast.ClassDef) if methods(node) > CLASS_METHODS]

    assert not large, listing("divide these classes, each of which does the work of several", large)


def test_every_public_class_name_of_the_product_exists_once() -> None:
    places = defaultdict(list)
    for path, node in nodes(ast.ClassDef):
        if is_product(path) and not node.name.startswith("_"):
            places[node.name].append(str(path))
    shared = [f"{name}: {', '.join(found)}" for name, found in places.items() if len(found) > 1]

    assert not shared, listing("give each of these classes a name of its own", shared)


def test_docstrings_of_functions_begin_with_what_is_returned_or_done() -> None:
    indirect = [
        f"{path}:{node.lineno} {node.name}"
        for path, node in functions()
        if INDIRECT_OPENING.match(ast.get_docstring(node) or "")
    ]

    assert not indirect, listing('begin these with a verb such as "Return" or "Store", or with "True if"', indirect)


def test_log_events_are_in_snake_case() -> None:
    wrong = [f"{path}:{call.lineno} {event}" for path, call, event in log_events() if not SNAKE_CASE.fullmatch(event)]

    assert not wrong, listing("name these events as past facts in snake_case, such as association_refused", wrong)


def test_tasks_are_made_by_supervised_alone() -> None:
    wrong = [
        f"{path}:{node.lineno} {made_by(node)}"
        for path, node in nodes(ast.Call)
        if is_product(path) and path != TASKS and made_by(node) in TASK_MAKERS
    ]

    assert not wrong, listing("use operators.tasks.supervised: a task must not end without anybody knowing", wrong)


def made_by(call: ast.Call) -> str:
    """Return the last name of what is called."""
    match call.func:
        case ast.Attribute(_, name) | ast.Name(name):
            return name
        case _:
            return ""


def test_names_of_tasks_are_literal() -> None:
    """A name is a metric's label, so that it must not depend on data."""
    made = [(path, call) for path, call in nodes(ast.Call) if is_product(path) and made_by(call) == "supervised"]
    wrong = [
        f"{path}:{call.lineno}" for path, call in made if path != TASKS and not isinstance(call.args[0], ast.Constant)
    ]

    assert made
    assert not wrong, listing("name these tasks by a literal", wrong)


def test_every_unit_test_mirrors_a_module() -> None:
    modules = {path.with_suffix("") for path in trees() if is_product(path)}
    homeless = [str(path) for path in trees() if is_unit_test_of_package(path) and module_of(path) not in modules]

    assert not homeless, listing("move these to the path of the module that they test, or to another kind", homeless)


def is_unit_test_of_package(path: Path) -> bool:
    """True if a file holds unit tests of a package, rather than of the whole repository."""
    is_unit_test = path.is_relative_to("tests/unit") and path.name.startswith("test_")
    return is_unit_test and len(path.parts) > len(("tests", "unit", path.name))


def module_of(path: Path) -> Path:
    """Return the path, without suffix, of the module that a unit test mirrors."""
    return path.relative_to("tests/unit").with_name(path.stem.removeprefix("test_"))


def test_the_test_of_every_module_is_found() -> None:
    mirrored = {module_of(path) for path in trees() if is_unit_test_of_package(path)}
    lacking = [
        path for path in trees() if is_product(path) and has_behaviour(path) and path.with_suffix("") not in mirrored
    ]
    homeless = [str(path) for path in lacking if place_of_tests(path) is None]

    assert not homeless, listing(
        "write tests/unit/.../test_<module>.py, or name another place in TESTED_ELSEWHERE", homeless
    )


def test_every_other_place_of_tests_exists() -> None:
    assert not [place for place in TESTED_ELSEWHERE.values() if not (ROOT / place).exists()]


def place_of_tests(path: Path) -> str | None:
    """Return where a module without a mirrored unit test is tested; None when no place is named."""
    beginnings = [beginning for beginning in TESTED_ELSEWHERE if str(path).startswith(beginning)]
    return TESTED_ELSEWHERE[max(beginnings, key=len)] if beginnings else None


def has_behaviour(path: Path) -> bool:
    """True if a function of the module has several statements; ports, errors and tables have none such."""
    here = [node for node in ast.walk(trees()[path]) if isinstance(node, FunctionNode) and node.name != "__init__"]
    return any(len(node.body) - (ast.get_docstring(node) is not None) > 1 for node in here)
