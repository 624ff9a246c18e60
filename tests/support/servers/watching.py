"""A real Prometheus with the configuration of the repository, which watches a running stack."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ruamel.yaml import YAML

from deploy.local.running import RunningStack
from tests.support.machine.debian_tools import Programs
from tests.support.servers.prometheus import Prometheus, prometheus

CONFIGURATION = Path(__file__).parents[3] / "deploy/monitoring/prometheus.yml"


@contextmanager
def watching(stack: RunningStack, programs: Programs, folder: Path) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes a stack, and evaluates the rules, each second; it has reached every process."""
    yaml = YAML(typ="safe")
    values = yaml.load(CONFIGURATION)
    values["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    values["rule_files"] = [str(CONFIGURATION.parent / name) for name in values["rule_files"]]
    values["scrape_configs"][0]["file_sd_configs"][0]["files"] = [str(stack.folder.metric_targets)]
    yaml.dump(values, folder / "prometheus.yml")
    with prometheus(programs, folder / "prometheus.yml", folder) as running:
        running.wait_up()
        yield running
