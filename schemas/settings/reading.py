"""Read a process's settings from the environment, a section at a time, and report everything that is wrong at once.

A section is a frozen dataclass. A setting is named FLUORO_<SECTION>_<FIELD>; a secret may also be a file:
FLUORO_<SECTION>_<FIELD>_FILE. A name that begins like those of a section that is read, but is none of them, is refused.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from schemas.settings.renamed import RENAMED, RETIRED_PREFIX, new_name, with_new_names

T = TypeVar("T")


class SettingsError(ValueError):
    """Everything that is wrong with the settings, a line for each problem."""


@dataclass(frozen=True)
class Rule:
    """A condition for a setting's value, and what people are told that the value should be."""

    holds: Callable[[Any], bool]
    wanted: str


# Both ends included.
PORT: dict[str, Any] = {"least": 0, "most": 65535}
# The variable that must be 1 to allow settings which exist to inject faults.
TESTS = "FLUORO_TESTS"
# How similar a name must be to a known one to be taken for a misspelling (difflib): two letters swapped are.
SIMILAR = 0.8
NUMBERS = {int: "a whole number", float: "a number"}


def setting(  # noqa: PLR0913 - everything that can be said about one
    default: Any,
    *,
    secret: bool = False,
    least: float | None = None,
    most: float | None = None,
    rule: Rule | None = None,
    tests: bool = False,
) -> Any:
    """Declare a setting: its default, if it is masked, its bounds (inclusive), its rule, if it is for tests only."""
    metadata = {"secret": secret, "least": least, "most": most, "rule": rule, "tests": tests}
    return field(default=default, repr=not secret, metadata=metadata)


def load(kind: type[T], env: Mapping[str, str]) -> T:
    """Read one section; raises SettingsError with a line for everything that is wrong with it."""
    env, notices, problems = with_new_names(_prefix(kind), env)
    for notice in notices:
        _tell_once(notice)
    values = {}
    for name, (value, problem) in _read(kind, env).items():
        values[name] = value
        problems += [problem] if problem else []
    problems += _unknown(kind, env)
    if problems:
        raise SettingsError("\n".join(problems))
    return kind(**values)


def load_all(kind: type[T], env: Mapping[str, str], *, with_store_keys: bool = False) -> T:
    """Read each section of a dataclass of sections; raises SettingsError with the problems of all of them.

    With `with_store_keys` it is a problem that the store's keys are not set.
    """
    sections, problems = {}, dict[str, None]()
    for name, section in get_type_hints(kind).items():
        try:
            sections[name] = load(section, env)
        except SettingsError as error:
            problems |= dict.fromkeys(str(error).splitlines())
    store = sections.get("store")
    if with_store_keys and store and not (store.access_key and store.secret_key):
        problems["FLUORO_STORE_ACCESS_KEY, FLUORO_STORE_SECRET_KEY: should be set, or each as a _FILE"] = None
    if problems:
        raise SettingsError("\n".join(problems))
    return kind(**sections)


def to_env(section: Any) -> dict[str, str]:
    """Return the variables from which load() reads this section back; secrets are in clear, so only for a child."""
    values = {one.name: getattr(section, one.name) for one in fields(section)}
    return {f"{_prefix(section)}{name.upper()}": str(value) for name, value in values.items()}


@cache
def _tell_once(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - for the person who starts the process, before there is a log


def _prefix(kind: Any) -> str:
    return f"FLUORO_{kind.section}_"


def _read(kind: type[Any], env: Mapping[str, str]) -> dict[str, tuple[Any, str | None]]:
    """Return each field's value, and what is wrong with it."""
    hints = get_type_hints(kind)
    found = {}
    for one in fields(kind):
        name = f"{_prefix(kind)}{one.name.upper()}"
        try:
            text = _text(name, env, secret=one.metadata["secret"])
            value = one.default if text is None else _parse(name, text, hints[one.name])
            problem = _problem(name, value, one.metadata)
            if one.metadata["tests"] and value != one.default and env.get(TESTS) != "1":
                problem = f"{name}: is for tests only; set {TESTS}=1 to allow it"
            found[one.name] = (value, problem)
        except SettingsError as error:
            found[one.name] = (None, str(error))
    return found


def _unknown(kind: type[Any], env: Mapping[str, str]) -> list[str]:
    """Return a line for each name that begins like a setting of this section and is none, with what was likely meant."""
    own = _prefix(kind)
    has_moved = any(old.startswith(RETIRED_PREFIX) and new.startswith(own) for old, new in RENAMED.items())
    prefixes = (own, RETIRED_PREFIX) if has_moved else (own,)
    known = set(_names(kind))
    meant = {old.split("_", 2)[2]: new for old, new in RENAMED.items() if old.startswith(prefixes)}
    meant |= {name.removeprefix(own): name for name in known}
    unknown = [name for name in env if name.startswith(prefixes) and name not in known and not new_name(name)]
    return [_misspelt(name, meant) for name in unknown]


def _misspelt(name: str, meant: Mapping[str, str]) -> str:
    likely = get_close_matches(name.split("_", 2)[2], meant, n=1, cutoff=SIMILAR)
    return f"{name}: is not a setting" + "".join(f"; {meant[one]} is" for one in likely)


def _names(kind: type[Any]) -> Iterator[str]:
    for one in fields(kind):
        name = f"{_prefix(kind)}{one.name.upper()}"
        yield name
        if one.metadata["secret"]:
            yield f"{name}_FILE"


def _text(name: str, env: Mapping[str, str], *, secret: bool) -> str | None:
    if not secret or f"{name}_FILE" not in env:
        return env.get(name)
    try:
        return Path(env[f"{name}_FILE"]).read_text().strip()
    except OSError as error:
        # Not the path: it could be the secret itself, put into the wrong variable.
        raise SettingsError(f"{name}_FILE: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{name}_FILE: is not a text file") from error


def _parse(name: str, text: str, kind: Callable[[str], Any]) -> Any:
    try:
        value = kind(text)
    except ValueError:
        raise SettingsError(f"{name}: should be {NUMBERS.get(kind, 'another value')}") from None  # type: ignore[call-overload]
    if isinstance(value, float) and not math.isfinite(value):
        # It would pass every bound, or none would ever be reached.
        raise SettingsError(f"{name}: should be a finite number")
    return value


def _problem(name: str, value: Any, limits: Mapping[str, Any]) -> str | None:
    if limits["least"] is not None and value < limits["least"]:
        return f"{name}: should be at least {limits['least']}"
    if limits["most"] is not None and value > limits["most"]:
        return f"{name}: should be at most {limits['most']}"
    if limits["rule"] is not None and not limits["rule"].holds(value):
        return f"{name}: should be {limits['rule'].wanted}"
    return None
