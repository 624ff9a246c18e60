"""Prints, as JSON, the operators of every job's graph: uid and class. Run with PyFlink's environment, in a folder.

A process of its own: a JVM and its client do not mix with a test runner that takes every warning for an error.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from pyflink.datastream import StreamExecutionEnvironment

from deploy.flink import gateway
from deploy.flink.home import Home
from pipelines.engines.flink import Job, configuration, flink_configuration
from pipelines.streaming import catalog, study
from schemas.settings.jobs import JobSettings

JOBS = (study.JOB, catalog.JOB)


def operators(job: Job, settings: JobSettings) -> list[dict[str, Any]]:
    """Return a job's operators; the streaming graph knows uids, the operator's class says the mode."""
    values = configuration(job, settings)
    env = StreamExecutionEnvironment.get_execution_environment(flink_configuration(values))
    job.build(env, *(kind() for kind in job.settings))
    graph = env._generate_stream_graph(clear_transformations=True, job_name=job.name)
    return [{"uid": node.getTransformationUID(), "kind": kind(node)} for node in graph.getStreamNodes().toArray()]


def kind(node: Any) -> str:
    """Return the class of a node's operator."""
    factory = node.getOperatorFactory()
    return str(factory.getStreamOperatorClass(factory.getClass().getClassLoader()).getSimpleName())


def main(folder: Path) -> None:
    """Print the plan of all jobs."""
    home, settings = Home(folder, folder / "logs"), JobSettings(checkpoint_dir=folder / "checkpoints")
    home.make(Path(os.environ["FLINK_HOME"]), home.configuration(settings, len(JOBS)))
    os.environ.update(home.environment(os.environ))
    jvm = gateway.start(os.environ)
    try:
        print(json.dumps({job.name: operators(job, settings) for job in JOBS}), flush=True)  # noqa: T201
    finally:
        gateway.stop(jvm)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
