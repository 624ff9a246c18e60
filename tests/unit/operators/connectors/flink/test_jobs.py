"""A Flink cluster says of each job whether it runs."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from operators.connectors.flink.jobs import FlinkJobs
from operators.errors import Unavailable
from tests.support.machine.flink_rest import DescribedJob, flink_rest
from tests.support.machine.processes import free_port


def states(*found: DescribedJob) -> dict[str, str]:
    with flink_rest(*found) as port:
        return asyncio.run(FlinkJobs(f"http://127.0.0.1:{port}/", ("study", "catalog")).states())


@pytest.mark.parametrize(
    ("catalog", "state"),
    [
        (DescribedJob("catalog"), "running"),
        (DescribedJob("catalog", tasks=("RUNNING", "DEPLOYING")), "starting"),
        (DescribedJob("catalog", "RESTARTING", tasks=("CANCELED",)), "restarting"),
        (DescribedJob("catalog", "FAILED"), "failed"),
        (DescribedJob("a job of somebody else"), "missing"),
    ],
)
def test_each_job_that_should_run_has_its_state(catalog: DescribedJob, state: str) -> None:
    assert states(DescribedJob("study"), catalog) == {"study": "running", "catalog": state}


def test_the_newest_job_of_a_name_counts() -> None:
    found = states(DescribedJob("study", since_ms=2), DescribedJob("study", "CANCELED", since_ms=1))

    assert found["study"] == "running"


def test_a_cluster_is_asked_once_a_second_however_often_the_states_are() -> None:
    now = [0.0]

    async def found_at(times: tuple[float, ...]) -> list[str]:
        with flink_rest(DescribedJob("study")) as port:
            jobs = FlinkJobs(f"http://127.0.0.1:{port}", ("study",), clock=lambda: now[0])
            found = [(await jobs.states())["study"]]
        for now[0] in times:
            try:
                found.append((await jobs.states())["study"])
            except Unavailable:
                found.append("away")
        return found

    assert asyncio.run(found_at((0.5, 1.0, 1.1))) == ["running", "running", "running", "away"]


def test_a_cluster_that_is_away_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        asyncio.run(FlinkJobs(f"http://127.0.0.1:{free_port()}", ("study",)).states())


def test_a_server_that_is_no_cluster_is_unavailable() -> None:
    with flink_rest() as port, pytest.raises(Unavailable):
        asyncio.run(FlinkJobs(f"http://127.0.0.1:{port}/elsewhere", ("study",)).states())


@pytest.fixture
def silent_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_cluster_that_never_answers_is_unavailable_within_a_bound(silent_port: int) -> None:
    with pytest.raises(Unavailable):
        asyncio.run(FlinkJobs(f"http://127.0.0.1:{silent_port}", ("study",), answer_s=0.1).states())
