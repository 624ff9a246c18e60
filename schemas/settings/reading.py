"""Read a process's settings from the environment, a section at a time, and report everything that is wrong at once.

A section is a frozen dataclass. A setting is named FLUORO_<SECTION>_<FIELD>; a secret may also be a file:
FLUORO_<SECTION>_<FIELD>_FILE. A variable with the prefix of a section that is read, but with no setting's name, is
refused.
"""

import ipaddress
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
    """A condition for a setting's value, and the words that end the message 'should be ...'."""

    holds: Callable[[Any], bool]
    wanted: str


def one_of(*words: str) -> Rule:
    """Return the rule of a setting that is one of these words, of which an empty one is not named."""
    return Rule(lambda text: text in words, f"one of {', '.join(word for word in words if word)}")


def is_loopback(host: str) -> bool:
    """True if a server that listens on this host, an address or a name, is reached from its own machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# Both ends included.
PORT: dict[str, Any] = {"least": 0, "most": 65535}
# The variable that must be 1 to allow settings which exist to inject faults.
TESTS = "FLUORO_TESTS"
# How similar a name must be to a known one to count as a misspelling (difflib's ratio), as with two swapped letters.
SIMILAR = 0.8
NUMBERS = {int: "a whole number", float: "a number"}


def setting(  # noqa: PLR0913 - a setting has this many properties
    default: Any,
    *,
    secret: bool = False,
    least: float | None = None,
    most: float | None = None,
    rule: Rule | None = None,
    tests: bool = False,
) -> Any:
    """Declare a setting: its default, whether it is masked, its inclusive bounds, its rule, whether it is for tests only."""
    metadata = {"secret": secret, "least": least, "most": most, "rule": rule, "tests": tests}
    return field(default=default, repr=not secret, metadata=metadata)


def load(kind: type[T], env: Mapping[str, str]) -> T:
    """Read one section; raises SettingsError with a line for each problem.

    A section may have a method `contradictions` with the problems of settings that do not fit together.
    """
    env, notices, problems = with_new_names(_prefix(kind), env)
    for notice in notices:
        _print_once(notice)
    values = {}
    for name, (value, problem) in _read(kind, env).items():
        values[name] = value
        problems += [problem] if problem else []
    problems += _unknown(kind, env)
    if problems:
        raise SettingsError("\n".join(problems))
    section: Any = kind(**values)
    if contradictions := [*getattr(section, "contradictions", tuple)()]:
        raise SettingsError("\n".join(contradictions))
    return section  # type: ignore[no-any-return]


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
    """Return the variables from which load() reads this section back; secrets are in clear: for child processes only."""
    values = {declared.name: getattr(section, declared.name) for declared in fields(section)}
    return {f"{_prefix(section)}{name.upper()}": str(value) for name, value in values.items()}


@cache
def _print_once(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - for the person who starts the process, before there is a log


def _prefix(kind: Any) -> str:
    return f"FLUORO_{kind.section}_"


def _read(kind: type[Any], env: Mapping[str, str]) -> dict[str, tuple[Any, str | None]]:
    """Return each field's value and its problem, None for no problem."""
    hints = get_type_hints(kind)
    found = {}
    for declared in fields(kind):
        name = f"{_prefix(kind)}{declared.name.upper()}"
        try:
            text = _text(name, env, secret=declared.metadata["secret"])
            value = declared.default if text is None else _parse(name, text, hints[declared.name])
            problem = _problem(name, value, declared.metadata)
            if declared.metadata["tests"] and value != declared.default and env.get(TESTS) != "1":
                problem = f"{name}: is for tests only; set {TESTS}=1 to allow it"
            found[declared.name] = (value, problem)
        except SettingsError as error:
            found[declared.name] = (None, str(error))
    return found


def _unknown(kind: type[Any], env: Mapping[str, str]) -> list[str]:
    """Return a line, with the likely name, for each variable that has a prefix of this section and is no setting."""
    own = _prefix(kind)
    has_moved = any(old.startswith(RETIRED_PREFIX) and new.startswith(own) for old, new in RENAMED.items())
    prefixes = (own, RETIRED_PREFIX) if has_moved else (own,)
    known = set(_names(kind))
    by_field = {old.split("_", 2)[2]: new for old, new in RENAMED.items() if old.startswith(prefixes)}
    by_field |= {name.removeprefix(own): name for name in known}
    unknown = [name for name in env if name.startswith(prefixes) and name not in known and not new_name(name)]
    return [_misspelt(name, by_field) for name in unknown]


def _misspelt(name: str, by_field: Mapping[str, str]) -> str:
    likely = get_close_matches(name.split("_", 2)[2], by_field, n=1, cutoff=SIMILAR)
    return f"{name}: is not a setting" + "".join(f"; {by_field[field_name]} is" for field_name in likely)


def _names(kind: type[Any]) -> Iterator[str]:
    for declared in fields(kind):
        name = f"{_prefix(kind)}{declared.name.upper()}"
        yield name
        if declared.metadata["secret"]:
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
        # NaN passes every bound check, and an infinite limit is never reached.
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
