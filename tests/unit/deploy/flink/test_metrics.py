"""The launcher's metrics say of each job whether it runs, and whether it has stopped for good."""

import httpx
from prometheus_client import REGISTRY

from deploy.flink import metrics
from deploy.flink.rest import JobState
from pipelines.jobs import JOBS
from schemas.settings.jobs import JobSettings
from tests.support.machine.processes import free_port

FIRST, SECOND = (job.name for job in JOBS)


def state(name: str, *, is_running: bool) -> JobState:
    return JobState(name, "RUNNING", is_running, 0, "")


def values(metric: str) -> dict[str, float | None]:
    return {job.name: REGISTRY.get_sample_value(metric, {"job_name": job.name}) for job in JOBS}


def test_a_job_runs_when_all_its_tasks_do() -> None:
    metrics.report(JOBS, [state(FIRST, is_running=True), state(SECOND, is_running=False)], ())

    assert values("fluoro_job_running") == {FIRST: 1, SECOND: 0}


def test_a_job_that_has_stopped_for_good_is_one_until_it_is_resumed() -> None:
    metrics.report(JOBS, [state(FIRST, is_running=True)], {SECOND})
    stopped = values("fluoro_job_stopped")
    metrics.report(JOBS, [state(FIRST, is_running=True)], ())

    assert stopped == {FIRST: 0, SECOND: 1}
    assert values("fluoro_job_stopped") == {FIRST: 0, SECOND: 0}


def test_the_launcher_serves_its_own_metrics_and_no_others() -> None:
    port = free_port()
    metrics.report(JOBS, (), {FIRST})
    server = metrics.serve(JobSettings(metrics_port=port))
    assert server is not None
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    server.shutdown()
    server.server_close()

    assert f'fluoro_job_stopped{{job_name="{FIRST}"}} 1.0' in text
    assert "fluoro_gateway" not in text


def test_without_a_port_nothing_is_served() -> None:
    assert metrics.serve(JobSettings(metrics_port=0)) is None
