"""The metrics that Flink serves of its jobs: those few of its thousands that somebody looks at.

Flink's reporter passes on these alone, and its own names stay: `numRestarts` of the scope `jobmanager.job` is
`flink_jobmanager_job_numRestarts`. To Prometheus all of them are gauges, also those that count.
"""

import re
from dataclasses import dataclass

JOB, TASK = "jobmanager.job", "taskmanager.job.task"
OPERATOR = f"{TASK}.operator"
READER, PRODUCER = f"{OPERATOR}.KafkaSourceReader", f"{OPERATOR}.KafkaProducer"
CONSUMER = f"{READER}.KafkaConsumer"
JVMS = ("jobmanager.Status.JVM", "taskmanager.Status.JVM")

# Variables of Flink that would be labels, and tell nothing that the others do not.
LEFT_OUT_LABELS = ("host", "tm_id", "task_id", "task_attempt_id", "operator_id")
JOB_LABELS = ("job_name", "job_id")
TASK_LABELS = (*JOB_LABELS, "task_name", "subtask_index", "task_attempt_num")
OPERATOR_LABELS = (*TASK_LABELS, "operator_name")
LABELS = {JOB: JOB_LABELS, TASK: TASK_LABELS}


@dataclass(frozen=True)
class FlinkMetric:
    """A metric by its scope and name in Flink, and what it says."""

    scope: str
    name: str
    meaning: str

    @property
    def prometheus_name(self) -> str:
        """Return its name in Prometheus."""
        return re.sub(r"[^a-zA-Z0-9:_]", "_", f"flink_{self.scope}_{self.name}")

    @property
    def labels(self) -> tuple[str, ...]:
        """Return its labels."""
        return LABELS.get(self.scope, OPERATOR_LABELS if self.scope.startswith(OPERATOR) else ())


def _of_each_jvm(scope: str, name: str, meaning: str) -> tuple[FlinkMetric, ...]:
    return tuple(FlinkMetric(f"{jvm}.{scope}", name, meaning) for jvm in JVMS)


FLINK_METRICS = (
    FlinkMetric("jobmanager", "numRunningJobs", "Jobs that Flink has not given up."),
    FlinkMetric("jobmanager", "numRegisteredTaskManagers", "TaskManagers that the JobManager knows."),
    FlinkMetric("jobmanager", "taskSlotsAvailable", "Slots that are free."),
    FlinkMetric(JOB, "numRestarts", "How often Flink has restarted the job since it was submitted."),
    FlinkMetric(JOB, "uptime", "Milliseconds for which the job has been running; 0 while it is not."),
    FlinkMetric(JOB, "downtime", "Milliseconds for which the job has been failing or restarting; 0 while it runs."),
    FlinkMetric(
        JOB, "lastCheckpointCompletedTimestamp", "When the last checkpoint was complete, in Unix milliseconds."
    ),
    FlinkMetric(JOB, "lastCheckpointDuration", "Milliseconds that the last checkpoint took."),
    FlinkMetric(JOB, "lastCheckpointFullSize", "Bytes of the whole state in the last checkpoint."),
    FlinkMetric(JOB, "numberOfCompletedCheckpoints", "Checkpoints that were completed since the job was submitted."),
    FlinkMetric(JOB, "numberOfFailedCheckpoints", "Checkpoints that failed since the job was submitted."),
    FlinkMetric(JOB, "numberOfInProgressCheckpoints", "Checkpoints under way."),
    FlinkMetric(TASK, "numRecordsIn", "Records that a task has received from others; none for a source."),
    FlinkMetric(TASK, "numRecordsOut", "Records that a task has handed on to others."),
    FlinkMetric(TASK, "busyTimeMsPerSecond", "Milliseconds of each second in which the task works."),
    FlinkMetric(TASK, "idleTimeMsPerSecond", "Milliseconds of each second in which the task has nothing to do."),
    FlinkMetric(
        TASK, "backPressuredTimeMsPerSecond", "Milliseconds of each second in which the task waits for the next."
    ),
    FlinkMetric(OPERATOR, "numRecordsIn", "Records that an operator has taken, a source from Kafka."),
    FlinkMetric(OPERATOR, "numRecordsOut", "Records that an operator has handed on."),
    FlinkMetric(OPERATOR, "numRecordsSend", "Records that a sink has sent to Kafka."),
    FlinkMetric(OPERATOR, "numRecordsSendErrors", "Records that a sink could not send to Kafka."),
    FlinkMetric(
        OPERATOR, "pendingRecords", "Records of the partitions that a source reads which it has not fetched yet."
    ),
    FlinkMetric(
        OPERATOR, "currentEmitEventTimeLag", "Milliseconds from the broker's time of the last record to its reading."
    ),
    FlinkMetric(OPERATOR, "sourceIdleTime", "Milliseconds since a source read its last record."),
    FlinkMetric(READER, "commitsSucceeded", "Commits of the group's offsets, one a checkpoint."),
    FlinkMetric(
        READER, "commitsFailed", "Commits of the group's offsets that failed; the checkpoint has them all the same."
    ),
    FlinkMetric(
        CONSUMER, "records-lag-max", "Records in the partition that is furthest behind which are not fetched yet."
    ),
    FlinkMetric(CONSUMER, "records-consumed-total", "Records that were fetched from Kafka."),
    FlinkMetric(CONSUMER, "bytes-consumed-total", "Bytes that were fetched from Kafka."),
    FlinkMetric(PRODUCER, "record-retry-total", "Records that were sent to Kafka once more."),
    FlinkMetric(PRODUCER, "record-error-total", "Records that could not be sent to Kafka."),
    *_of_each_jvm("Memory.Heap", "Used", "Bytes of heap in use."),
    *_of_each_jvm("Memory.Heap", "Max", "Bytes of heap that may be used."),
    *_of_each_jvm("Memory.Metaspace", "Used", "Bytes of classes."),
    *_of_each_jvm("Memory.Metaspace", "Max", "Bytes of classes that there may be."),
    *_of_each_jvm("CPU", "Time", "Nanoseconds of CPU that the JVM has used."),
    *_of_each_jvm("GarbageCollector.All", "Time", "Milliseconds that the garbage collectors have taken."),
    *_of_each_jvm("Threads", "Count", "Threads that live."),
)
