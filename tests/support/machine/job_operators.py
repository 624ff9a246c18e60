"""Prints, as JSON, the operators of every job's graph: uid and class. Runs with PyFlink's environment, in a folder.

It is a process of its own: a JVM and its client do not mix with a test runner that takes warnings for errors.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from deploy.flink import jvm
from deploy.flink.folder import ClusterFolder
from operators.stream.origin import Origin
from pipelines.engines.flink import configuration, environment
from pipelines.jobs import JOBS, Job
from schemas.settings.jobs import JobSettings


def operators(job: Job, settings: JobSettings) -> list[dict[str, Any]]:
    """Return a job's operators; the streaming graph knows uids, the operator's class says the mode."""
    env = environment(configuration(job, settings))
    job.build(env, Origin(), *(kind() for kind in job.settings))
    graph = env._generate_stream_graph(clear_transformations=True, job_name=job.name)
    return [{"uid": node.getTransformationUID(), "kind": kind(node)} for node in graph.getStreamNodes().toArray()]


def kind(node: Any) -> str:
    """Return the class of a node's operator."""
    factory = node.getOperatorFactory()
    return str(factory.getStreamOperatorClass(factory.getClass().getClassLoader()).getSimpleName())


def main(folder: Path) -> None:
    """Print the plan of all jobs."""
    cluster, settings = ClusterFolder(folder, folder / "logs"), JobSettings(checkpoint_dir=folder / "checkpoints")
    cluster.write(cluster.configuration(settings, len(JOBS)), os.environ)
    os.environ.update(cluster.environment(os.environ))
    machine = jvm.start(os.environ)
    try:
        print(json.dumps({job.name: operators(job, settings) for job in JOBS}), flush=True)  # noqa: T201
    finally:
        jvm.stop(machine)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
