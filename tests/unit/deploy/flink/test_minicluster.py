"""What the launcher is told when the JVM of the jobs ends; the cluster itself is tested in tests/integration/."""

from collections.abc import Callable
from typing import Any

import pytest
from py4j.protocol import Py4JNetworkError

from deploy.flink import minicluster
from deploy.flink.minicluster import MiniCluster
from pipelines.jobs import CATALOG
from schemas.settings.jobs import JobSettings


@pytest.mark.parametrize(
    "call",
    [
        lambda cluster: cluster.cancel("7"),
        lambda cluster: cluster.submit(CATALOG, JobSettings(), (), None),
    ],
    ids=["cancel", "submit"],
)
def test_a_jvm_that_is_gone_is_an_error_of_the_connection(
    call: Callable[[MiniCluster], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise Py4JNetworkError("Answer from Java side is empty")

    monkeypatch.setattr(minicluster, "get_gateway", gone)
    monkeypatch.setattr(minicluster, "flink_configuration", gone)

    with pytest.raises(OSError, match="the JVM of the jobs failed: Py4JNetworkError"):
        call(object.__new__(MiniCluster))
