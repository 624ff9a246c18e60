"""Make a Flink distribution that runs the jobs on a cluster: `python -m deploy.flink.package FOLDER`.

The folder is a whole Flink: its programs in bin/, the jars of the jobs in lib/, and a configuration that names this
clone's Java, Python and modules. So `FOLDER/bin/start-cluster.sh` and `FOLDER/bin/flink run -py flink-jobs/study.py`
need no further arguments. Every machine of the cluster needs this clone, installed, and the folder, both at the same
paths.
"""

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from deploy.errors import Failed
from deploy.flink import reporter
from deploy.flink.folder import KEPT
from deploy.install.layout import Layout
from deploy.local.checks import check_installed

LOG_SETTINGS = Path(__file__).with_name("log4j2.properties")
# One job takes as many slots as its parallelism; Flink's own default is one slot.
SLOTS = 4
# Flink's own default, and a port for each process more that one machine may have.
METRICS_PORTS = "9249-9280"
# Folders that Flink's programs write into, and do not make.
LEFT_TO_FLINK = ("log", "pids")


def make(layout: Layout, folder: Path) -> None:
    """Make the distribution in a new folder. Raises Failed if the folder is there already."""
    if folder.exists():
        raise Failed(f"{folder} is there already: remove it, or name another folder")
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    package = layout.site_packages / "pyflink"
    for name in ("bin", "conf"):
        shutil.copytree(package / name, partial / name)
    for name in ("lib", "plugins"):
        shutil.copytree(layout.flink_home / name, partial / name)
    add_python_jar(next((package / "opt").glob("flink-python-*.jar")), partial)
    for name in LEFT_TO_FLINK:
        (partial / name).mkdir()
    configure(partial / "conf", cluster_settings(layout, folder))
    partial.rename(folder)


def add_python_jar(jar: Path, folder: Path) -> None:
    """Put Flink's jar for Python into lib/, so that all jobs of a process share the library that it loads.

    Of several class loaders only the first could load it: a job in thread mode that is submitted again would fail for
    ever. Flink's client looks for the jar in opt/.
    """
    shutil.copyfile(jar, folder / "lib" / jar.name)
    (folder / "opt").mkdir()
    (folder / "opt" / jar.name).symlink_to(Path("..") / "lib" / jar.name)


def cluster_settings(layout: Layout, folder: Path) -> dict[str, str]:
    """Return the settings of the cluster and of its client that depend on this clone and on the folder."""
    return {
        # Flink's programs look for this one with sed: a line of its own, whose key has dots.
        "env.java.home": str(layout.java_home),
        # By default in /tmp, where stop-cluster.sh would find the processes of other clusters too.
        "env.pid.dir": str(folder / "pids"),
        "python.client.executable": str(layout.python),
        "python.executable": str(layout.python),
        "python.pythonpath": f"{layout.root}:{layout.site_packages}",
        "classloader.parent-first-patterns.additional": "pemja.",
        # Without it the page, which takes jobs from everybody, listens at every address.
        "rest.bind-address": "localhost",
        **KEPT,
        **reporter.settings(METRICS_PORTS),
    }


def configure(conf: Path, settings: Mapping[str, str]) -> None:
    """Add settings to Flink's own configuration, and have Flink log as on the local stack: without a record's content."""
    yaml = YAML()
    yaml.width = 4096
    path = conf / "config.yaml"
    values: Any = yaml.load(path)
    values["taskmanager"]["numberOfTaskSlots"] = SLOTS
    # Otherwise nobody could tell Flink's default from `flink run -p 1`.
    del values["parallelism"]
    values.update(settings)
    yaml.dump(values, path)
    for name in ("log4j.properties", "log4j-cli.properties"):
        shutil.copyfile(LOG_SETTINGS, conf / name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the folder that the argument names; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.flink.package", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a folder that is not there yet")
    folder = parser.parse_args(arguments).folder.absolute()
    try:
        make(check_installed(), folder)
    except (Failed, OSError) as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    print(f"{folder} is ready: {folder}/bin/start-cluster.sh, {folder}/bin/flink run -d -py flink-jobs/study.py")
    return 0


if __name__ == "__main__":
    sys.exit(main())
