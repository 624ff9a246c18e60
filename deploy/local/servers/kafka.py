"""Kafka: one broker that is its own controller (KRaft), on loopback, and the topics in it."""

import base64
import itertools
import uuid
from pathlib import Path

from deploy.local.servers import health
from deploy.local.stack import Stack
from deploy.local.supervision.programs import Program, ServerProgram, SetupProgram

LOGGING = Path(__file__).parent / "kafka.log4j2.properties"
BROKER_CLASS = "kafka.Kafka"
STORAGE_TOOL_CLASS = "kafka.tools.StorageTool"
# -UsePerfData: no performance data in the system's temporary folder.
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
    # A killed broker may register again only when its session has expired (after 9 s by default).
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "1000",
    # After a kill, every open segment is read again: two threads are faster than one even on one disk.
    "num.recovery.threads.per.data.dir": "2",
    "log.cleaner.dedupe.buffer.size": str(16 * 2**20),
}


def programs(stack: Stack) -> tuple[Program, ...]:
    """Return the programs that make the broker's storage, run the broker, and create the topics."""
    properties = write_settings(stack)
    env = stack.env() | stack.layout.java_environment()
    return (
        SetupProgram(
            name="kafka-format",
            command=java(stack, STORAGE_TOOL_CLASS, "format", "-t", new_cluster_id(), "-c", properties, "--standalone"),
            env=env,
            is_done=is_formatted(stack),
        ),
        ServerProgram(
            name="kafka",
            command=java(stack, BROKER_CLASS, properties),
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


def write_settings(stack: Stack) -> Path:
    """Write the broker's settings file and return its path."""
    path = stack.folder.root / "kafka.properties"
    path.write_text("".join(f"{name}={value}\n" for name, value in settings(stack).items()))
    return path


def settings(stack: Stack) -> dict[str, str]:
    """Return the broker's settings."""
    broker, controller = (f"127.0.0.1:{stack.ports[name]}" for name in ("kafka", "kafka-controller"))
    return ONE_BROKER | {
        "controller.quorum.bootstrap.servers": controller,
        "listeners": f"BROKER://{broker},CONTROLLER://{controller}",
        "log.dirs": str(stack.folder.root / "kafka"),
    }


def java(stack: Stack, *arguments: str | Path) -> tuple[str | Path, ...]:
    """Return the command that runs one of Kafka's classes."""
    folders = (f"-Djava.io.tmpdir={stack.folder.root / 'tmp'}", f"-Dlog4j2.configurationFile={LOGGING}")
    return (stack.layout.java, *JVM, *folders, "-cp", stack.layout.kafka_class_path, *arguments)


def new_cluster_id() -> str:
    """Return a new cluster id in Kafka's form (a UUID in base64) that does not begin with a dash, as options do."""
    ids = (base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode() for _ in itertools.count())
    return next(cluster_id for cluster_id in ids if not cluster_id.startswith("-"))


def is_formatted(stack: Stack) -> bool:
    """True if the storage is complete: formatting writes this file last."""
    return (stack.folder.root / "kafka" / "meta.properties").exists()
