"""What librdkafka has to say of its clients is a line of the process's log, and nothing on standard error."""

import asyncio
import re
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from operators.connectors.kafka.clients import BrokerAdmin, ClientLog, client_config
from operators.connectors.kafka.positions import Positions
from operators.errors import Unavailable
from schemas.settings.servers import BrokerSettings
from tests.support.servers.faulty_servers import listening

ROOT = Path(__file__).parents[5]
TRIES = 20
ABSENT = BrokerSettings(bootstrap="127.0.0.1:1", produce_s=0.5)


def unanswered(client: BrokerAdmin) -> str:
    """Ask about a topic for a second; return why there was no answer."""
    with pytest.raises(Unavailable) as caught, client.asking("topic a-topic"):
        client.list_topics(timeout=1)
    return caught.value.why


def test_a_client_says_in_the_log_once_why_it_cannot_connect(capfd: pytest.CaptureFixture[str]) -> None:
    with capture_logs() as logs:
        client = BrokerAdmin(ABSENT)
        # On a busy machine a client may not have tried to connect within a second.
        answers = (unanswered(client) for _ in range(TRIES))
        why = next((answer for answer in answers if "refused" in answer), "never refused")

    (line,) = logs
    assert why.startswith("127.0.0.1:1: topic a-topic: 127.0.0.1:1/bootstrap: Connect to ")
    assert why.endswith("failed: Connection refused")
    assert (line["event"], line["kind"]) == ("broker_client_error", "FAIL")
    assert "Connection refused" in line["line"]
    assert capfd.readouterr().err == ""


def test_a_broker_that_ends_every_connection_at_the_first_question_is_told_from_one_that_is_away() -> None:
    async def ends(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        """Close the connection, as a listener with TLS does when it reads a question in plain text."""
        await reader.read(1)

    async def why() -> str:
        async with listening(ends) as port:
            admin = BrokerAdmin(BrokerSettings(bootstrap=f"127.0.0.1:{port}"))
            with pytest.raises(Unavailable) as caught:
                await asyncio.to_thread(listed, admin)
            return caught.value.why

    told = "127.0.0.1:.*: Disconnected.*: perhaps this address does not speak what FLUORO_BROKER_SECURITY_PROTOCOL says"
    assert re.fullmatch(told, asyncio.run(why()))


def listed(admin: BrokerAdmin) -> None:
    with admin.asking():
        admin.list_topics(timeout=1)


def test_positions_that_cannot_be_had_say_why() -> None:
    with capture_logs() as logs, pytest.raises(Unavailable):
        Positions(ABSENT).extents(["a-topic"])

    assert [line["event"] for line in logs] == ["broker_client_error"]


def test_a_line_is_logged_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    client_log = ClientLog("broker")

    with capture_logs() as logs:
        for moment in (0.0, 30.0, 59.0, 60.0, 61.0):
            now[0] = moment
            client_log.log(40, "%s [%s] %s", "FAIL", "client", f"at {moment}")

    assert [line["line"] for line in logs] == ["at 0.0", "at 60.0"]


def test_a_client_is_encrypted_and_authenticated_by_the_settings() -> None:
    sasl = BrokerSettings(security_protocol="SASL_SSL", user="gateway", password="secret", tls_ca="/ca.pem")

    assert subset(client_config(BrokerSettings())) == {"security.protocol": "PLAINTEXT"}
    assert subset(client_config(BrokerSettings(security_protocol="SSL"))) == {"security.protocol": "SSL"}
    assert subset(client_config(sasl)) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "gateway",
        "sasl.password": "secret",
        "ssl.ca.location": "/ca.pem",
    }


def subset(config: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in config.items() if name.startswith(("security.", "sasl.", "ssl."))}


def test_no_other_module_says_how_the_broker_is_reached() -> None:
    packages = ("operators", "gateway", "api", "pipelines", "deploy")
    sources = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in sources if "bootstrap.servers" in path.read_text()}

    # The local stack's broker is told of its own controller.
    assert found - {"deploy/local/servers/kafka.py"} == {"operators/connectors/kafka/clients.py"}
