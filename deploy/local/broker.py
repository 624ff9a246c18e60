"""The Kafka broker's settings and how it is started: one node, KRaft, loopback."""

import base64
import itertools
import uuid
from collections.abc import Mapping
from pathlib import Path

from deploy.install.layout import Layout
from deploy.local.places import Place

LOGGING = Path(__file__).parent / "kafka" / "log4j2.properties"
STARTER = "kafka.Kafka"
FORMATTER = "kafka.tools.StorageTool"
# No file outside our folders: no performance data in the system's temporary folder, no core dumps.
JVM = ("-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-XX:MaxMetaspaceSize=160m", "-Xss512k")
ONE_BROKER = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "BROKER",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    # A killed broker may register anew only when its last life is taken for dead (9 s by default).
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "1000",
    # Recovery after a kill reads every open segment: with more threads than disks it is done at once.
    "num.recovery.threads.per.data.dir": "2",
    "log.cleaner.dedupe.buffer.size": str(16 * 2**20),
}


def settings(place: Place, ports: Mapping[str, int]) -> dict[str, str]:
    """Return the broker's settings."""
    broker, controller = (f"127.0.0.1:{ports[name]}" for name in ("kafka", "kafka-controller"))
    return ONE_BROKER | {
        "controller.quorum.bootstrap.servers": controller,
        "listeners": f"BROKER://{broker},CONTROLLER://{controller}",
        "log.dirs": str(place.root / "kafka"),
    }


def write_settings(place: Place, ports: Mapping[str, int]) -> Path:
    """Put the settings where the broker reads them."""
    path = place.root / "kafka.properties"
    path.write_text("".join(f"{name}={value}\n" for name, value in settings(place, ports).items()))
    return path


def java(layout: Layout, place: Place, *arguments: str | Path) -> tuple[str | Path, ...]:
    """Return the command that runs one of the broker's programs."""
    folders = (f"-Djava.io.tmpdir={place.root / 'tmp'}", f"-Dlog4j2.configurationFile={LOGGING}")
    return (layout.java, *JVM, *folders, "-cp", layout.kafka_class_path, *arguments)


def format_command(layout: Layout, place: Place, properties: Path) -> tuple[str | Path, ...]:
    """Return the command that makes the broker's storage."""
    return java(layout, place, FORMATTER, "format", "-t", new_id(), "-c", properties, "--standalone")


def new_id() -> str:
    """Return an id as Kafka makes them itself: one that begins with a dash would be taken for an option."""
    ids = (base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode() for _ in itertools.count())
    return next(one for one in ids if not one.startswith("-"))


def start_command(layout: Layout, place: Place, properties: Path) -> tuple[str | Path, ...]:
    """Return the command that runs the broker."""
    return java(layout, place, STARTER, properties)


def is_formatted(place: Place) -> bool:
    """True if the storage is there; its properties are the last thing that formatting writes."""
    return (place.root / "kafka" / "meta.properties").exists()
