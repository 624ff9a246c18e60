"""Kafka: one broker that is its own controller (KRaft), on loopback, and the topics in it."""

import base64
import itertools
import uuid
from pathlib import Path

from deploy.install.layout import Layout
from deploy.local.servers import health
from deploy.local.stack import Stack
from deploy.local.supervision.programs import Program, ServerProgram, SetupProgram

LOGGING = Path(__file__).parent / "kafka.log4j2.properties"
BROKER_CLASS = "kafka.Kafka"
STORAGE_TOOL_CLASS = "kafka.tools.StorageTool"
# -UsePerfData: no performance data in the system's temporary folder. One compiler, as in the jobs' JVM.
JVM = (
    "-Xms128m",
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:MaxMetaspaceSize=160m",
    "-Xss512k",
)
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
    # By default 3 and 8: each request would wake up another thread, whose caches are cold. Two, so that an answer that waits
    # for the disk holds up nobody.
    "num.network.threads": "1",
    "num.io.threads": "2",
    # By default the offsets of a job that has stopped are forgotten after 7 days, before the first record that it has not
    # read expires: its start could not say that one did.
    "offsets.retention.minutes": str(90 * 24 * 60),
    # A killed broker may register again only when its session has expired, after 9 s by default. The controller, which
    # dies with it, counts from its own start: this wait is added to every restart. The heartbeat is also the pause
    # between two attempts to register.
    "broker.session.timeout.ms": "1500",
    "broker.heartbeat.interval.ms": "250",
    # After a kill, every open segment is read again: two threads are faster than one even on one disk.
    "num.recovery.threads.per.data.dir": "2",
    "log.cleaner.dedupe.buffer.size": str(16 * 2**20),
}


def programs(stack: Stack) -> tuple[Program, ...]:
    """Return the programs that make the broker's storage, run the broker, and create the topics."""
    ports = (stack.ports["kafka"], stack.ports["kafka-controller"])
    properties = write_settings(stack.folder.root / "kafka.properties", stack.folder.root / "kafka", *ports)
    env, temporary = stack.env() | stack.layout.java_environment(), stack.folder.root / "tmp"
    format_ = ("format", "-t", new_cluster_id(), "-c", properties, "--standalone")
    return (
        SetupProgram(
            name="kafka-format",
            command=java(stack.layout, temporary, STORAGE_TOOL_CLASS, *format_),
            env=env,
            is_done=is_formatted(stack),
        ),
        ServerProgram(
            name="kafka",
            command=java(stack.layout, temporary, *archived_classes(stack.layout), BROKER_CLASS, properties),
            needs=("kafka-format",),
            env=env,
            check_health=health.listens(stack.ports["kafka"]),
        ),
        SetupProgram(
            name="topics",
            command=stack.python("-m", "deploy.prepare", "topics"),
            needs=("kafka",),
            env=stack.env(stack.broker),
        ),
    )


def write_settings(path: Path, data: Path, port: int, controller_port: int) -> Path:
    """Write the broker's settings file and return its path."""
    settings = ONE_BROKER | {
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller_port}",
        "listeners": f"BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "log.dirs": str(data),
    }
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return path


def java(here: Layout, temporary: Path, *arguments: str | Path) -> tuple[str | Path, ...]:
    """Return the command that runs one of Kafka's classes, with options before it and arguments behind it."""
    own = (f"-Djava.io.tmpdir={temporary}", f"-Dlog4j2.configurationFile={LOGGING}")
    return (here.java, *JVM, *own, "-cp", here.kafka_class_path, *arguments)


def archived_classes(here: Layout) -> tuple[str, ...]:
    """Return the option that uses the archive of the broker's classes, if there is one."""
    return (f"-XX:SharedArchiveFile={here.kafka_classes}",) if here.kafka_classes.exists() else ()


def new_cluster_id() -> str:
    """Return a new cluster id in Kafka's form (a UUID in base64) that does not begin with a dash, as options do."""
    ids = (base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode() for _ in itertools.count())
    return next(cluster_id for cluster_id in ids if not cluster_id.startswith("-"))


def is_formatted(stack: Stack) -> bool:
    """True if the storage is complete: formatting writes this file last."""
    return (stack.folder.root / "kafka" / "meta.properties").exists()
