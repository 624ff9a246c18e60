"""The catalog job, for `flink run -py flink-jobs/catalog.py`; settings come from the environment."""

import os

from pipelines.engines.flink import environment
from pipelines.streaming.catalog import JOB
from schemas.settings.jobs import JobSettings
from schemas.settings.reading import load

if __name__ == "__main__":
    env = environment(JOB, load(JobSettings, os.environ))
    JOB.build(env, *(load(kind, os.environ) for kind in JOB.settings))
    env.execute(JOB.name)
