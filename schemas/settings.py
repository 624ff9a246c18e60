"""Every setting, its default and its bounds; read from the environment once, by a composition root.

A setting is named FLUORO_<SECTION>_<FIELD>; a secret may also be a file: FLUORO_<SECTION>_<FIELD>_FILE.
The defaults fit the local stack.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from schemas.objects import TENANT

T = TypeVar("T")


class SettingsError(ValueError):
    """Everything that is wrong with the settings, a line each."""


def setting(
    default: Any,
    *,
    secret: bool = False,
    least: float | None = None,
    most: float | None = None,
    check: Callable[[Any], bool] | None = None,
) -> Any:
    """Declare a setting: its default, whether it is masked, its bounds (inclusive)."""
    metadata = {"secret": secret, "least": least, "most": most, "check": check}
    return field(default=default, repr=not secret, metadata=metadata)


PORT: dict[str, Any] = {"least": 0, "most": 65535}
AE_TITLE = re.compile(r"[!-\[\]-~]{1,16}")
QUIET = re.compile(r"([A-Z0-9]+=[0-9]+(\.[0-9]+)?(,|$))*")


@dataclass(frozen=True)
class StoreSettings:
    """The S3 store."""

    section = "STORE"
    endpoint: str = setting("http://127.0.0.1:9000")
    access_key: str = setting("", secret=True)
    secret_key: str = setting("", secret=True)
    region: str = setting("us-east-1")
    connect_s: float = setting(2.0, least=0.1)
    no_progress_s: float = setting(5.0, least=0.1)


@dataclass(frozen=True)
class BrokerSettings:
    """The Kafka broker."""

    section = "BROKER"
    bootstrap: str = setting("127.0.0.1:9092")
    produce_s: float = setting(8.0, least=0.1)


@dataclass(frozen=True)
class CatalogSettings:
    """The catalog's database, as one role: each process is given the role that it needs and no other."""

    section = "CATALOG"
    host: str = setting("127.0.0.1")
    port: int = setting(5432, **PORT)
    database: str = setting("fluoro")
    user: str = setting("reader")
    password: str = setting("", secret=True)
    connections: int = setting(8, least=1, most=200)
    statement_s: float = setting(10.0, least=0.1)


@dataclass(frozen=True)
class GatewaySettings:
    """The DIMSE door."""

    section = "GATEWAY"
    host: str = setting("127.0.0.1")
    port: int = setting(11112, **PORT)
    ae_title: str = setting("FLUORO", check=lambda title: AE_TITLE.fullmatch(title) is not None)
    # The one title that callers must call; empty: any will do.
    only_called_ae: str = setting("", check=lambda title: not title or AE_TITLE.fullmatch(title) is not None)
    tenant: str = setting("local", check=lambda tenant: TENANT.fullmatch(tenant) is not None)
    processes: int = setting(os.cpu_count() or 1, least=1, most=256)
    metrics_port: int = setting(0, **PORT)
    max_pdu_bytes: int = setting(131072, least=4096, most=1048576)
    first_pdu_bytes: int = setting(524288, least=4096)
    associate_s: float = setting(10.0, least=0.1)
    silence_s: float = setting(10.0, least=0.1)
    slowest_bytes_per_s: float = setting(1000.0, least=0)
    idle_s: float = setting(120.0, least=0.1)
    associations: int = setting(200, least=1)
    contexts: int = setting(128, least=1, most=128)
    memory_instance_bytes: int = setting(8 * 2**20, least=0)
    memory_process_bytes: int = setting(512 * 2**20, least=2**20)
    instance_bytes: int = setting(4 * 2**30, least=1)
    spool_dir: Path = setting(Path(".data/spool"))
    outbox_dir: Path = setting(Path(".data/outbox"))
    heal_s: float = setting(60.0, least=0)


@dataclass(frozen=True)
class ApiSettings:
    """The read door."""

    section = "API"
    host: str = setting("127.0.0.1")
    port: int = setting(8060, **PORT)
    tenant: str = setting("local", check=lambda tenant: TENANT.fullmatch(tenant) is not None)
    default_limit: int = setting(100, least=1)
    most_limit: int = setting(1000, least=1)
    workers: int = setting(1, least=1, most=64)
    headers_at_once: int = setting(8, least=1, most=256)
    no_progress_s: float = setting(30.0, least=0.1)


@dataclass(frozen=True)
class StudySettings:
    """When a study is due (seconds)."""

    section = "STUDY"
    released_s: float = setting(5.0, least=0)
    quiet_s: float = setting(60.0, least=0)
    quiet_by_modality: str = setting("CT=120,MR=120,US=300", check=lambda pairs: QUIET.fullmatch(pairs) is not None)
    quiet_open_s: float = setting(300.0, least=0)
    limit_s: float = setting(6 * 3600.0, least=1)

    def quiet(self, modality: str | None) -> float:
        """Give the quiet time of a modality."""
        pairs = (pair.split("=", 1) for pair in self.quiet_by_modality.split(",") if pair)
        return {name: float(seconds) for name, seconds in pairs}.get(modality or "", self.quiet_s)


@dataclass(frozen=True)
class JobSettings:
    """How the Flink jobs run."""

    section = "JOB"
    checkpoint_dir: Path = setting(Path(".data/checkpoints"))
    checkpoint_s: float = setting(10.0, least=0.1)
    parallelism: int = setting(1, least=1, most=128)
    shards: int = setting(8, least=1, most=128)
    batch_records: int = setting(500, least=1)
    batch_s: float = setting(0.1, least=0.001)
    rest_port: int = setting(8081, **PORT)


def load(kind: type[T], env: Mapping[str, str]) -> T:
    """Read one section; raises SettingsError with a line for everything that is wrong with it."""
    values, problems = {}, []
    for name, (value, problem) in _read(kind, env).items():
        values[name] = value
        problems += [problem] if problem else []
    if problems:
        raise SettingsError("\n".join(problems))
    return kind(**values)


def to_env(section: Any) -> dict[str, str]:
    """Give the variables that load() reads this section back from, secrets in clear: for a child process alone."""
    values = {one.name: getattr(section, one.name) for one in fields(section)}
    return {f"FLUORO_{section.section}_{name.upper()}": str(value) for name, value in values.items()}


def _read(kind: type[Any], env: Mapping[str, str]) -> dict[str, tuple[Any, str | None]]:
    hints = get_type_hints(kind)
    found = {}
    for one in fields(kind):
        name = f"FLUORO_{kind.section}_{one.name.upper()}"
        try:
            text = _text(name, env, secret=one.metadata["secret"])
            value = one.default if text is None else _parse(text, hints[one.name])
            found[one.name] = (value, _problem(name, value, one.metadata))
        except (ValueError, OSError) as error:
            found[one.name] = (None, f"{name}: {error}")
    return found


def _text(name: str, env: Mapping[str, str], *, secret: bool) -> str | None:
    if secret and f"{name}_FILE" in env:
        return Path(env[f"{name}_FILE"]).read_text().strip()
    return env.get(name)


def _parse(text: str, kind: Callable[[str], Any]) -> Any:
    try:
        return kind(text)
    except ValueError:
        wanted = {int: "a whole number", float: "a number"}.get(kind, "another value")  # type: ignore[call-overload]
        raise ValueError(f"should be {wanted}") from None


def _problem(name: str, value: Any, rules: Mapping[str, Any]) -> str | None:
    if rules["least"] is not None and value < rules["least"]:
        return f"{name}: should be at least {rules['least']}"
    if rules["most"] is not None and value > rules["most"]:
        return f"{name}: should be at most {rules['most']}"
    if rules["check"] is not None and not rules["check"](value):
        return f"{name}: is not a usable value"
    return None


SECTIONS: tuple[type[Any], ...] = (
    StoreSettings,
    BrokerSettings,
    CatalogSettings,
    GatewaySettings,
    ApiSettings,
    StudySettings,
    JobSettings,
)
