"""Prints, as JSON, every job's graph in both modes: the uid and class of each operator, and the names of its chains. Runs with PyFlink's environment, in a folder.

It is a process of its own: a JVM and its client do not mix with a test runner that takes warnings for errors.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploy.flink import jvm
from deploy.flink.folder import ClusterFolder
from operators.stream.origin import Origin
from pipelines.engines.flink import configuration, environment
from pipelines.jobs import JOBS, Job
from schemas.settings.jobs import JobSettings


def plan(job: Job, settings: JobSettings) -> dict[str, Any]:
    """Return a job's graph; the streaming graph knows uids, the operator's class says the mode."""
    env = environment(configuration(job, settings))
    sections = (settings if kind is JobSettings else kind() for kind in job.settings)
    job.build(env, Origin(), *sections)
    graph = env._generate_stream_graph(clear_transformations=True, job_name=job.name)
    nodes = graph.getStreamNodes().toArray()
    return {
        "operators": [{"uid": node.getTransformationUID(), "kind": kind(node)} for node in nodes],
        "chains": [vertex.getName() for vertex in graph.getJobGraph().getVerticesAsArray()],
    }


def kind(node: Any) -> str:
    """Return the class of a node's operator."""
    factory = node.getOperatorFactory()
    return str(factory.getStreamOperatorClass(factory.getClass().getClassLoader()).getSimpleName())


def main(folder: Path) -> None:
    """Print the plans of all jobs in both modes."""
    cluster, settings = ClusterFolder(folder, folder / "logs"), JobSettings(checkpoint_dir=folder / "checkpoints")
    cluster.write(cluster.configuration(settings, len(JOBS)), os.environ)
    os.environ.update(cluster.environment(os.environ))
    machine = jvm.start(os.environ)
    try:
        modes = {mode: replace(settings, python_mode=mode) for mode in ("thread", "process")}
        plans = {mode: {job.name: plan(job, chosen) for job in JOBS} for mode, chosen in modes.items()}
        print(json.dumps(plans), flush=True)  # noqa: T201
    finally:
        jvm.stop(machine)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
