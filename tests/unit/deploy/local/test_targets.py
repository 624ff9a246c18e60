"""Prometheus finds every process of a stack, by its kind, in a file that it may read."""

import json
from pathlib import Path

from deploy.install import layout
from deploy.local import targets
from deploy.local.data_folder import DataFolder
from deploy.local.stack import Stack

PORTS = {"dimse": 1, "web": 2, "flink": 3, "minio": 5, "gateway-metrics": 70, "job-metrics": 90, "verify-metrics": 60}
EXAMPLE = Path(targets.__file__).parents[1] / "monitoring" / "targets.example.json"


def found(folder: DataFolder, *, with_jobs: bool = True, **environ: str) -> dict[str, list[str]]:
    stack = Stack(layout.here({"FLUORO_CACHE": "/nonexistent"}), folder, PORTS, environ, None, with_jobs)
    targets.write(stack)
    groups = json.loads(folder.metric_targets.read_text())
    return {group["labels"]["job"]: group["targets"] for group in groups}


def test_each_process_of_a_stack_is_a_target_of_its_kind(folder: DataFolder) -> None:
    assert found(folder, FLUORO_DIMSE_PROCESSES="2") == {
        "gateway": ["127.0.0.1:70", "127.0.0.1:71"],
        "web": ["127.0.0.1:2"],
        "jobs": ["127.0.0.1:90"],
        "flink": ["127.0.0.1:91"],
        "verification": ["127.0.0.1:60"],
        "minio": ["127.0.0.1:5"],
    }


def test_jobs_on_another_cluster_are_no_target_of_the_stack(folder: DataFolder) -> None:
    assert set(found(folder, with_jobs=False)) == {"gateway", "web", "verification", "minio"}


def test_a_gateway_that_listens_everywhere_is_asked_on_this_machine(folder: DataFolder) -> None:
    everywhere = {"FLUORO_DIMSE_HOST": "::", "FLUORO_DIMSE_PLAINTEXT_PUBLIC": "1", "FLUORO_DIMSE_PROCESSES": "1"}

    assert found(folder, with_jobs=True, **everywhere)["gateway"] == ["127.0.0.1:70"]


def test_everybody_on_the_machine_may_read_the_file(folder: DataFolder) -> None:
    found(folder)

    assert folder.metric_targets.stat().st_mode & 0o044 == 0o044


def test_the_example_has_the_form_and_the_kinds_of_a_stacks_own_file(folder: DataFolder) -> None:
    example = {group["labels"]["job"] for group in json.loads(EXAMPLE.read_text())}

    assert example == set(found(folder))
