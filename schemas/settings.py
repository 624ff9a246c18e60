"""Every setting, its default and its bounds; read from the environment once, by a composition root.

A setting is named FLUORO_<SECTION>_<FIELD>; a secret may also be a file: FLUORO_<SECTION>_<FIELD>_FILE. What begins
like the names of a section that is read, and is none of them, is refused. The defaults fit the local stack.
"""

import ipaddress
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from schemas.objects import TENANT

T = TypeVar("T")


class SettingsError(ValueError):
    """Everything that is wrong with the settings, a line each."""


def setting(  # noqa: PLR0913 (what can be said of one)
    default: Any,
    *,
    secret: bool = False,
    least: float | None = None,
    most: float | None = None,
    check: Callable[[Any], bool] | None = None,
    tests: bool = False,
) -> Any:
    """Declare a setting: its default, whether it is masked, its bounds (inclusive), whether it is for tests alone."""
    metadata = {"secret": secret, "least": least, "most": most, "check": check, "tests": tests}
    return field(default=default, repr=not secret, metadata=metadata)


PORT: dict[str, Any] = {"least": 0, "most": 65535}
AE_TITLE = re.compile(r"[!-\[\]-~]{1,16}")
# What must be 1 for settings that only hurt.
TESTS = "FLUORO_TESTS"
FAILPOINT = re.compile("(after_(spool|intent|put|event|done)|mid_transfer_end)(:[1-9][0-9]*)?")
QUIET = re.compile(r"([A-Z0-9]+=[0-9]+(\.[0-9]+)?(,|$))*")
# How like a name must be to what was meant (difflib): two letters changed about.
LIKELY = 0.8


def are_networks(text: str) -> bool:
    """True if this is a list of networks, such as 10.1.0.0/16, by comma; an empty one is."""
    try:
        return all(ipaddress.ip_network(one) for one in text.split(",")) if text else True
    except ValueError:
        return False


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
    # Associated and nothing asked yet, or in the midst of a message: so long without a byte.
    stall_s: float = setting(20.0, least=0.1)
    associations: int = setting(200, least=1)
    # Connections from an address that no peer has; those of balancers, by comma, are not counted by address.
    associations_per_address: int = setting(20, least=1)
    balancers: str = setting("", check=are_networks)
    # At a door that is full, who brought next to nothing for so long gives way.
    yield_s: float = setting(5.0, least=0.1)
    # Who may come in (deploy/peers.example.toml); empty: this machine alone.
    peers_file: str = setting("")
    # PEM files; with a client CA every client must show a certificate.
    tls_certificate: str = setting("")
    tls_key: str = setting("")
    tls_client_ca: str = setting("")
    # 1: listen on an address that is not loopback although there is no TLS.
    plaintext_public: int = setting(0, least=0, most=1)
    contexts: int = setting(128, least=1, most=128)
    transfer_syntaxes: int = setting(64, least=1, most=1024)
    # Of one request, transfer syntaxes that nobody knows, before one that is known: who proposes in earnest knows some.
    unknown_syntaxes: int = setting(2048, least=0)
    user_information_bytes: int = setting(65535, least=64, most=65535)
    command_bytes: int = setting(16 * 2**10, least=2**10)
    # Of one message: so many fragments may be of any size, and those beyond as large as this in the mean.
    fragments: int = setting(1000, least=1)
    fragment_bytes: int = setting(1024, least=0, most=4096)
    # Received and not begun, on one association: we say one at a time (PS3.7 D.3.3.3), a flood asks without end.
    unanswered: int = setting(64, least=1)
    # Of one data set, at both doors: what has more is kept aside as unreadable.
    depth: int = setting(64, least=1, most=64)
    items: int = setting(100_000, least=1)
    elements: int = setting(200_000, least=1)
    inflate_ratio: int = setting(100, least=1, most=1032)
    inflated_bytes: int = setting(512 * 2**20, least=1)
    memory_instance_bytes: int = setting(8 * 2**20, least=0)
    # Of one process, for data sets; the rest of it takes 100 MiB and more.
    memory_process_bytes: int = setting(320 * 2**20, least=2**20)
    instance_bytes: int = setting(4 * 2**30, least=1)
    spool_dir: Path = setting(Path(".data/spool"))
    # Of one process, in files; what needs more is to be sent again.
    spool_process_bytes: int = setting(64 * 2**30, least=0)
    outbox_dir: Path = setting(Path(".data/outbox"))
    heal_s: float = setting(60.0, least=0)
    # Where a process is to die, for tests: `after_put`, or `after_put:3` for the third time.
    failpoint: str = setting("", check=lambda point: not point or FAILPOINT.fullmatch(point) is not None, tests=True)
    # What was refused: how long it is kept, how much of it for each tenant, how often is looked how much there is.
    quarantine_days: int = setting(30, least=1, most=3650)
    quarantine_bytes: int = setting(10 * 2**30, least=0)
    quarantine_look_s: float = setting(300.0, least=1)


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
    # Deflated instances that lie in memory inflated (64 MiB at most each) until their answer has gone out.
    inflated_at_once: int = setting(2, least=1, most=64)
    no_progress_s: float = setting(30.0, least=0.1)
    # What one header may cost, how much finished header JSON is kept, how many ranges one request may name.
    header_s: float = setting(5.0, least=0.01)
    header_cache_bytes: int = setting(64 * 2**20, least=0)
    ranges: int = setting(10, least=1)
    # Processes that decode and render, how many requests may wait for them, and what one may use for one image.
    render_children: int = setting(2, least=1, most=256)
    render_queue: int = setting(64, least=1)
    render_memory_bytes: int = setting(768 * 2**20, least=256 * 2**20)
    render_cpu_s: int = setting(10, least=1)
    render_wall_s: float = setting(30.0, least=0.1)
    # Of one frame, decoded; and of what must be read to find and render it.
    render_frame_bytes: int = setting(64 * 2**20, least=1)
    thumbnail_px: int = setting(128, least=1, most=4096)


@dataclass(frozen=True)
class StowSettings:
    """The STOW-RS door: what one process takes at once, and what one request may hold."""

    section = "STOW"
    requests: int = setting(16, least=1, most=1000)
    # Instances of one request that are stored while the next one comes.
    at_once: int = setting(3, least=1, most=64)
    request_bytes: int = setting(8 * 2**30, least=1)
    parts: int = setting(10_000, least=1)
    part_headers: int = setting(32, least=1)
    part_header_bytes: int = setting(8192, least=64)
    # Before the first boundary, and after the last.
    outside_bytes: int = setting(1024, least=0)
    silence_s: float = setting(10.0, least=0.1)
    slowest_bytes_per_s: float = setting(1000.0, least=0)
    # At a door that is full, the slowest of those gives way who were waited for so long and came slower than this.
    yield_s: float = setting(5.0, least=0.1)
    yield_bytes_per_s: float = setting(100_000.0, least=0)


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
        """Return the quiet time of a modality."""
        pairs = (pair.split("=", 1) for pair in self.quiet_by_modality.split(",") if pair)
        return {name: float(seconds) for name, seconds in pairs}.get(modality or "", self.quiet_s)


@dataclass(frozen=True)
class JobSettings:
    """How the Flink jobs run."""

    section = "JOB"
    checkpoint_dir: Path = setting(Path(".data/checkpoints"))
    checkpoint_s: float = setting(10.0, least=0.1)
    parallelism: int = setting(1, least=1, most=128)
    # Of a job that writes in batches: 1, or several times the parallelism, for Flink deals them out by hash (DECISIONS 18).
    shards: int = setting(1, least=1, most=128)
    batch_records: int = setting(500, least=1)
    batch_s: float = setting(0.1, least=0.001)
    rest_port: int = setting(8081, **PORT)


def load(kind: type[T], env: Mapping[str, str]) -> T:
    """Read one section; raises SettingsError with a line for everything that is wrong with it."""
    values, problems = {}, []
    for name, (value, problem) in _read(kind, env).items():
        values[name] = value
        problems += [problem] if problem else []
    problems += _misspelt(kind, env)
    if problems:
        raise SettingsError("\n".join(problems))
    return kind(**values)


def load_all(kind: type[T], env: Mapping[str, str], *, with_store_keys: bool = False) -> T:
    """Read every section that a record of sections has; raises SettingsError with all problems of all of them.

    `with_store_keys`: for who cannot begin without the store's keys.
    """
    sections, problems = {}, []
    for name, section in get_type_hints(kind).items():
        try:
            sections[name] = load(section, env)
        except SettingsError as error:
            problems.append(str(error))
    store = sections.get("store")
    if with_store_keys and store and not (store.access_key and store.secret_key):
        problems.append("FLUORO_STORE_ACCESS_KEY, FLUORO_STORE_SECRET_KEY: should be set, or each as a _FILE")
    if problems:
        raise SettingsError("\n".join(problems))
    return kind(**sections)


def to_env(section: Any) -> dict[str, str]:
    """Return the variables that load() reads this section back from, secrets in clear: for a child process alone."""
    values = {one.name: getattr(section, one.name) for one in fields(section)}
    return {f"FLUORO_{section.section}_{name.upper()}": str(value) for name, value in values.items()}


def _read(kind: type[Any], env: Mapping[str, str]) -> dict[str, tuple[Any, str | None]]:
    hints = get_type_hints(kind)
    found = {}
    for one in fields(kind):
        name = f"FLUORO_{kind.section}_{one.name.upper()}"
        try:
            text = _text(name, env, secret=one.metadata["secret"])
            value = one.default if text is None else _parse(name, text, hints[one.name])
            problem = _problem(name, value, one.metadata)
            if one.metadata["tests"] and value != one.default and env.get(TESTS) != "1":
                problem = f"{name}: is for tests alone; {TESTS}=1 says that this is one"
            found[one.name] = (value, problem)
        except SettingsError as error:
            found[one.name] = (None, str(error))
    return found


def _misspelt(kind: type[Any], env: Mapping[str, str]) -> list[str]:
    """Name what begins like a setting of this section and is none of any."""
    prefix = f"FLUORO_{kind.section}_"
    known = {name for section in {kind, *SECTIONS} for name in _names(section)}
    ours = [name.removeprefix(prefix) for name in _names(kind)]
    unknown = [name for name in env if name.startswith(prefix) and name not in known]
    likely = {name: get_close_matches(name.removeprefix(prefix), ours, n=1, cutoff=LIKELY) for name in unknown}
    return [f"{name}: is no setting" + "".join(f"; {prefix}{one} is" for one in likely[name]) for name in unknown]


def _names(kind: type[Any]) -> Iterator[str]:
    for one in fields(kind):
        name = f"FLUORO_{kind.section}_{one.name.upper()}"
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
        raise SettingsError(f"{name}_FILE: is no text") from error


def _parse(name: str, text: str, kind: Callable[[str], Any]) -> Any:
    try:
        value = kind(text)
    except ValueError:
        wanted = {int: "a whole number", float: "a number"}.get(kind, "another value")  # type: ignore[call-overload]
        raise SettingsError(f"{name}: should be {wanted}") from None
    if isinstance(value, float) and not math.isfinite(value):
        # It would pass every bound, or none would ever be reached.
        raise SettingsError(f"{name}: should be a finite number")
    return value


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
    StowSettings,
    StudySettings,
    JobSettings,
)
