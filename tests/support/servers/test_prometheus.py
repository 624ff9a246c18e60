"""The real Prometheus of the tests scrapes, answers queries, and says what it cannot reach."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, start_http_server

from tests.support.machine.debian_tools import Programs
from tests.support.machine.processes import free_port
from tests.support.servers.prometheus import prometheus

CONFIGURATION = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: tried
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def test_it_scrapes_a_process_and_answers_queries(prometheus_programs: Programs, tmp_path: Path) -> None:
    registry, port = CollectorRegistry(), free_port()
    Counter("tried", "Times that it was tried.", ["how"], registry=registry).labels("hard").inc(3)
    (tmp_path / "prometheus.yml").write_text(CONFIGURATION.format(port=port))
    served, thread = start_http_server(port, "127.0.0.1", registry)
    with prometheus(prometheus_programs, tmp_path / "prometheus.yml", tmp_path) as running:
        running.wait_up()
        (sample,) = running.wait_for("tried_total")

        assert (sample.labels["how"], sample.labels["job"], sample.value) == ("hard", "tried", 3)
        assert {"tried_total", "up"} <= running.names()
        with pytest.raises(AssertionError, match="parse error"):
            running.query("sum(")
    served.shutdown()
    served.server_close()
    thread.join()


def test_a_target_that_does_not_answer_is_named(prometheus_programs: Programs, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "prometheus.yml").write_text(CONFIGURATION.format(port=port))
    with (
        prometheus(prometheus_programs, tmp_path / "prometheus.yml", tmp_path) as running,
        pytest.raises(AssertionError, match=f"not up.*127.0.0.1:{port}"),
    ):
        # It hears of its targets five seconds after its start.
        running.wait_up(bound_s=8)
