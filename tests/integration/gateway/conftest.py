"""A gateway over memory twins, and the peers that may call it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.worlds.gateway import GatewaySections, gateway_in
from tests.support.worlds.running_gateway import (
    RunningGateway,
    running,
)

ALLOWED = """
[[peer]]
name = "ct1"
calling_ae = "CT1"
networks = ["127.0.0.1/32"]
tenant = "clinic"
services = ["echo", "store"]
associations = 2

[[peer]]
name = "checker"
calling_ae = "CHECKER"
called_ae = "*"
networks = ["127.0.0.0/24"]
tenant = "local"
services = ["echo"]
idle_s = 0.3
"""
STRANGER = "127.7.7.7"


@pytest.fixture
def settings(tmp_path: Path) -> GatewaySections:
    return gateway_in(tmp_path)


@pytest.fixture
def gateway(settings: GatewaySections) -> Iterator[RunningGateway]:
    with running(settings) as found:
        yield found


@pytest.fixture
def allowed(settings: GatewaySections, tmp_path: Path) -> GatewaySections:
    (tmp_path / "peers.toml").write_text(ALLOWED)
    return settings.changed(peers_file=str(tmp_path / "peers.toml"))
