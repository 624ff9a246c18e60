"""A wrong authority, a wrong password or a missing right is one line, which names the server and the cause, and no secret."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.audit.ledger import Ledger
from tests.support.installation.installation import Installation
from tests.support.installation.rights import GUEST
from tests.support.senders.sender import Peer, send
from tests.support.servers.secured.kafka import Right, without
from tests.support.worlds.reading import part10

# A broker that refuses is given up soon.
SOON = {"FLUORO_BROKER_PRODUCE_S": "3"}
# The settings that are wrong; {files} is what the document calls /etc/fluoro. The guest may log in everywhere, and do
# nothing.
WRONG = {
    "catalog authority": {"FLUORO_CATALOG_TLS_CA": "{files}/other-ca.pem"},
    "catalog password": {"FLUORO_CATALOG_PASSWORD_FILE": "{files}/guest"},
    "catalog right": {"FLUORO_CATALOG_USER": GUEST, "FLUORO_CATALOG_PASSWORD_FILE": "{files}/guest"},
    "catalog encryption": {"FLUORO_CATALOG_SSLMODE": "disable", "FLUORO_CATALOG_TLS_CA": ""},
    "broker authority": {"FLUORO_BROKER_TLS_CA": "{files}/other-ca.pem"},
    "broker password": {"FLUORO_BROKER_PASSWORD_FILE": "{files}/guest"},
    "broker right": {"FLUORO_BROKER_USER": GUEST, "FLUORO_BROKER_PASSWORD_FILE": "{files}/broker-guest"},
    "store authority": {"FLUORO_STORE_TLS_CA": "{files}/other-ca.pem"},
    "store password": {"FLUORO_STORE_SECRET_KEY_FILE": "{files}/guest"},
    "store right": {"FLUORO_STORE_ACCESS_KEY": GUEST, "FLUORO_STORE_SECRET_KEY_FILE": "{files}/store-guest"},
}
# What is said of each, behind the server's address; a right is named by what was refused.
CAUSES = {
    "catalog authority": r"role \w+: .*certificate verify failed",
    "catalog password": r'role (?P<role>\w+): .*password authentication failed for user "(?P=role)"',
    "catalog right": r"role guest: permission denied (for|to) .+",
    "catalog encryption": r"role \w+: .*no pg_hba\.conf entry .*no encryption",
    # OpenSSL's own line comes too, before or after librdkafka's.
    "broker authority": r".*certificate (could not be verified|verify failed).*",
    "broker password": r".*Authentication failed.* invalid credentials .*SCRAM-SHA-512",
    "broker right": r".*topic [\w-]+: .*[Aa]uthorization failed\.?",
    "store authority": r"its certificate is not trusted: unable to get local issuer certificate",
    "store password": r"(\w+ in clinic-\w+(\?lifecycle)?: )?403 SignatureDoesNotMatch: .+",
    "store right": r"\w+ in clinic-\w+(\?lifecycle)?: 403 AccessDenied: .+",
}
# What is run, which setting is wrong, and how the line begins.
SHORT = [
    *(("deploy.prepare", ("roles",), f"catalog {what}", "roles: ") for what in ("authority", "password", "right")),
    *(("deploy.prepare", ("catalog",), f"catalog {what}", "catalog: ") for what in ("authority", "password", "right")),
    ("deploy.prepare", ("catalog",), "catalog encryption", "catalog: "),
    *(("deploy.prepare", ("topics",), f"broker {what}", "topics: ") for what in ("authority", "password", "right")),
    *(("deploy.prepare", ("buckets",), f"store {what}", "buckets: ") for what in ("authority", "password", "right")),
    *(
        ("deploy.commands", ("quarantine", "list"), f"catalog {what}", "the catalog's database ")
        for what in ("authority", "password", "right")
    ),
    ("deploy.commands", ("transfers",), "catalog right", "the catalog's database "),
    ("deploy.commands", ("jobs", "reshard", "2"), "catalog right", "the catalog's database "),
    *(
        ("deploy.commands", ("topics", "read", "study-settled"), f"broker {what}", "the broker ")
        for what in ("authority", "password", "right")
    ),
]


def changes(installed: Installation, *wrong: str) -> dict[str, str]:
    """Return wrong settings."""
    given = {name: value for one in wrong for name, value in WRONG[one].items()}
    return SOON | {name: value.format(files=installed.files) for name, value in given.items()}


def told(installed: Installation, wrong: str) -> str:
    """Return the pattern of a cause: the server's address, and what is wrong with it."""
    server = wrong.split(maxsplit=1)[0]
    at = {
        "catalog": f"{installed.catalog.host}:{installed.catalog.port}, ",
        "broker": f"{installed.broker.bootstrap}: ",
        "store": f"{installed.store.endpoint}: ",
    }
    return re.escape(at[server]) + CAUSES[wrong]


def expect_no_secret(installed: Installation, text: str) -> None:
    assert not [secret for secret in installed.secrets if secret in text]
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("process", "arguments", "wrong", "beginning"), SHORT, ids=lambda one: one if isinstance(one, str) else one[0]
)
def test_what_is_run_once_ends_with_one_line(
    installed: Installation, process: str, arguments: tuple[str, ...], wrong: str, beginning: str
) -> None:
    done = installed.run(process, *arguments, changes=changes(installed, wrong))

    assert (done.returncode, done.stdout) == (1, "")
    expect_no_secret(installed, done.stderr)
    assert re.fullmatch(f"{beginning}(.+ cannot be used: |cannot be used: )?{told(installed, wrong)}\n", done.stderr)


def lines(log: Path, event: str) -> list[dict[str, Any]]:
    """Return the lines of an event in a log."""
    found = (json.loads(line) for line in log.read_text().splitlines() if line.startswith("{") and line.endswith("}"))
    return [line for line in found if line["event"] == event]


def refused(installed: Installation, tmp_path: Path) -> set[str]:
    """Send an instance to the gateway; return the statuses that it answers."""
    file = tmp_path / "sent.dcm"
    file.write_bytes(part10())
    with Ledger(tmp_path / "sent.jsonl") as ledger:
        return set(send([file], Peer(installed.ports["dimse"], patience_s=0.5), ledger, associations=1).statuses)


# What is wrong at a gateway's servers, and those of them that its readiness names; the first one refuses an instance.
AT_GATEWAYS = [
    (("store authority", "broker password"), ("store", "broker")),
    (("broker authority",), ("broker",)),
    # Whoever may only log in reaches the broker.
    (("broker right",), ()),
]


@pytest.mark.parametrize(("wrong", "away"), AT_GATEWAYS, ids="-".join)
def test_a_gateway_names_its_servers_in_its_log(
    installed: Installation, wrong: tuple[str, ...], away: tuple[str, ...], tmp_path: Path
) -> None:
    with installed.running("gateway", changes(installed, *wrong)) as log:
        ready = httpx.get(f"http://127.0.0.1:{installed.ports['gateway-metrics']}/readyz", timeout=20)
        statuses = refused(installed, tmp_path)

    assert ready.json() == {"store": "ready", "broker": "ready"} | dict.fromkeys(away, "away")
    assert statuses == {"A700"}
    whys = {line["server"]: line["why"] for line in lines(log, "server_away")}
    assert [server for server in away if not said(installed, server, wrong, whys[server])] == []
    assert_refused(installed, log, wrong[0])


def said(installed: Installation, server: str, wrong: Iterable[str], why: str) -> bool:
    """True if a line says what is wrong at a server."""
    (one,) = (one for one in wrong if one.startswith(server))
    return re.fullmatch(told(installed, one), why) is not None


def assert_refused(installed: Installation, log: Path, wrong: str) -> None:
    whys = {line["why"] for line in lines(log, "instance_refused")}
    assert whys
    assert [why for why in whys if not re.fullmatch(told(installed, wrong), why)] == []
    expect_no_secret(installed, log.read_text())


@pytest.mark.parametrize("what", ["authority", "password", "right"])
def test_a_web_origin_names_each_server_and_the_cause(installed: Installation, what: str) -> None:
    wrong = [f"{server} {what}" for server in ("store", "catalog", "broker")]
    with installed.running("deploy.web", changes(installed, *wrong)) as log:
        ready = httpx.get(f"{installed.api_url}/readyz", timeout=20)
        asked = httpx.get(f"{installed.api_url}/dicomweb/studies", timeout=20)
        headers = {"Content-Type": "application/dicom"}
        sent = httpx.post(f"{installed.api_url}/dicomweb/studies", content=part10(), headers=headers, timeout=60)

    assert (ready.status_code, asked.status_code, sent.status_code) == (503, 503, 503)
    whys = {line["server"]: line["why"] for line in lines(log, "server_away")}
    # A right is met by what needs it: whoever may only log in reaches the database and the broker.
    away = {"store"} if what == "right" else {"store", "catalog", "broker"}
    assert whys.keys() == away
    assert [server for server in away if not said(installed, server, wrong, whys[server])] == []
    (failed,) = lines(log, "request_failed")
    assert said(installed, "catalog", wrong, failed["why"])
    assert_refused(installed, log, wrong[0])


def logged(installed: Installation, settings: Mapping[str, str], event: str = "jobs_stopped") -> list[dict[str, Any]]:
    """Start the jobs until they log an event, or end; return the lines of the event."""
    with installed.started("deploy.flink.cluster", lambda log: bool(lines(log, event)), settings) as log:
        expect_no_secret(installed, log.read_text())
        return lines(log, event)


@pytest.mark.parametrize("wrong", ["broker authority", "broker password"])
def test_jobs_end_with_a_line_about_the_broker(installed: Installation, wrong: str) -> None:
    (line,) = logged(installed, changes(installed, wrong))

    assert re.fullmatch(f"broker: {told(installed, wrong)}", line["reason"])


RIGHTS: Iterable[tuple[Right, str]] = [
    (("TOPIC", "transfer-ended", "READ"), "topic transfer-ended: Broker: Topic authorization failed"),
    (("GROUP", "catalog", "READ"), r"group catalog: .*Group authorization failed\.?"),
]


@pytest.mark.parametrize(("right", "cause"), RIGHTS, ids=["topic", "group"])
def test_jobs_end_with_a_line_about_the_right_that_they_lack(installed: Installation, right: Right, cause: str) -> None:
    with without(installed.broker, "jobs", right):
        (line,) = logged(installed, SOON)

    assert re.fullmatch(f"broker: {re.escape(installed.broker.bootstrap)}: {cause}", line["reason"])


def test_jobs_say_at_their_start_why_they_do_not_know_the_progress_of_the_catalog(installed: Installation) -> None:
    (line, *_) = logged(installed, changes(installed, "catalog password"), event="progress_unknown")

    assert re.fullmatch(told(installed, "catalog password"), line["why"])
