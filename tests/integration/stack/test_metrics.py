"""A real Prometheus scrapes every process of a stack by the file that the stack writes, and finds what docs/metrics.md lists."""

import re
from collections.abc import Iterator
from ipaddress import ip_address

import httpx
import pytest

from deploy.local.running import RunningStack, wait_until
from deploy.local.targets import FLINK
from schemas.flink_metrics import FLINK_METRICS
from schemas.telemetry import SERVED, family_of
from tests.audit.ledger import Ledger
from tests.support.data.generate import Volume, files
from tests.support.machine.debian_tools import Programs
from tests.support.machine.running_stack import metrics_of, processes_of
from tests.support.senders.sender import Peer, send
from tests.support.servers.prometheus import Prometheus
from tests.support.servers.watching import watching

SOON_S = 60.0
FAMILY = re.compile(r"^# TYPE (\w+)", re.MULTILINE)
OF_FLINK = {metric.prometheus_name for metric in FLINK_METRICS}


@pytest.fixture(scope="module")
def used(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> RunningStack:
    """A stack that has stored a small CT, of which its jobs have read."""
    folder = tmp_path_factory.mktemp("metrics")
    with Ledger(folder / "ledger.jsonl") as ledger:
        assert send(list(files(Volume(slices=3), folder)), Peer(stack.dimse_port), ledger).complete
    wait_until(lambda: families(url_of(stack, FLINK)) >= OF_FLINK, SOON_S, "Flink has not every metric of the list")
    return stack


@pytest.fixture(scope="module")
def scraping(
    used: RunningStack, prometheus_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """A Prometheus with the configuration of the repository, which scrapes each second the stack of these tests."""
    with watching(used, prometheus_programs, tmp_path_factory.mktemp("prometheus")) as running:
        yield running


def url_of(stack: RunningStack, kind: str) -> str:
    return next(url for one, url in metrics_of(stack) if one == kind)


def families(url: str) -> set[str]:
    """Return the names of the metrics that a process serves, also of those without a value yet."""
    return set(FAMILY.findall(httpx.get(url, trust_env=False).text))


def test_prometheus_scrapes_every_process_of_the_stack(scraping: Prometheus, used: RunningStack) -> None:
    kinds = {target.labels["job"] for target in scraping.wait_up()}

    assert {target.url for target in scraping.targets()} == {url for _, url in metrics_of(used)}
    assert kinds == {"gateway", "web", "jobs", "flink", "minio", "verification"}
    assert all(sample.value == 1 for sample in scraping.wait_for("up"))


@pytest.mark.parametrize("kind", SERVED)
def test_a_process_serves_the_metrics_of_the_list_and_no_others(used: RunningStack, kind: str) -> None:
    listed = {family_of(metric).name for metric in SERVED[kind]}
    served = {name for name in families(url_of(used, kind)) if name.startswith("fluoro_")}

    assert {name.removesuffix("_created").removesuffix("_total") for name in served} == listed


def test_flink_serves_the_metrics_of_the_list_and_no_others(used: RunningStack) -> None:
    assert families(url_of(used, FLINK)) == OF_FLINK


def test_the_labels_of_flinks_metrics_are_those_of_the_list(scraping: Prometheus) -> None:
    own = {"__name__", "job", "instance"}
    for metric in FLINK_METRICS:
        for sample in scraping.wait_for(metric.prometheus_name):
            assert set(sample.labels) - own == set(metric.labels), metric.prometheus_name


def test_lag_checkpoints_and_throughput_of_each_job_are_numbers(scraping: Prometheus) -> None:
    jobs = {"study", "catalog"}
    scraping.wait_for("sum by (job_name) (flink_jobmanager_job_numberOfCompletedCheckpoints) > 0")
    for expression in (
        "flink_taskmanager_job_task_operator_KafkaSourceReader_KafkaConsumer_records_lag_max >= 0",
        "flink_taskmanager_job_task_operator_pendingRecords >= 0",
        "flink_jobmanager_job_lastCheckpointDuration > 0",
        "flink_jobmanager_job_numRestarts >= 0",
        'flink_taskmanager_job_task_operator_numRecordsIn{operator_name=~"Source:.*"} > 0',
        "fluoro_job_running == 1",
        "fluoro_job_stopped == 0",
    ):
        assert {sample.labels["job_name"] for sample in scraping.wait_for(expression)} == jobs, expression


def test_metrics_are_served_on_loopback_alone(used: RunningStack) -> None:
    served = {httpx.URL(url).port for _, url in metrics_of(used)}
    processes = [process for server in used.state().servers for process in processes_of(used, server)]
    listening = [one.laddr for process in processes for one in process.net_connections("tcp") if not one.raddr]
    at = {(address.port, address.ip.removeprefix("::ffff:")) for address in listening if address.port in served}

    assert {port for port, _ in at} == served
    assert [one for one in at if not ip_address(one[1]).is_loopback] == []
