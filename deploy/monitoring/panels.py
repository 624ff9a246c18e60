"""What the dashboards show. `python -m deploy.documents` writes them for Grafana: deploy/monitoring/dashboards/*.json.

A counter with labels begins to exist with its first event; `or vector(0)` shows the zero before it.
"""

from dataclasses import dataclass
from typing import Literal

REQUESTS = 'fluoro_api_requests_total{route!~"healthz|readyz|metrics"}'
FAILED_REQUESTS = 'fluoro_api_requests_total{route!~"healthz|readyz|metrics", status=~"5.."}'
STORE_BUCKETS = "sum by (le) (rate(fluoro_gateway_store_seconds_bucket[$__rate_interval]))"
SEARCH_BUCKETS = 'sum by (le) (rate(fluoro_api_request_seconds_bucket{route=~"search_.*"}[$__rate_interval]))'
ROUTE_BUCKETS = (
    'sum by (le, route) (rate(fluoro_api_request_seconds_bucket{route!~"healthz|readyz|metrics"}[$__rate_interval]))'
)


@dataclass(frozen=True)
class Curve:
    """What one query shows: PromQL, and the name of each of its series, where `{{reason}}` stands for a label's value."""

    expression: str
    name: str = ""


@dataclass(frozen=True)
class Panel:
    """A figure, or curves over time; it is red from `red_from` on. The unit is one of Grafana's identifiers."""

    title: str
    description: str
    unit: str
    curves: tuple[Curve, ...]
    kind: Literal["stat", "timeseries"] = "timeseries"
    red_from: float | None = None


@dataclass(frozen=True)
class Dashboard:
    """A page of panels. Its name is its file's and its identifier's, so that links to it stay."""

    name: str
    title: str
    description: str
    # How many panels with curves stand side by side.
    columns: int
    panels: tuple[Panel, ...]


NIGHT = Dashboard(
    "night",
    "Fluoro: Night",
    "Whether all is well: nothing is red.",
    2,
    (
        Panel(
            "Alerts that fire",
            "Alertmanager, or the page of alerts in Prometheus, says which.",
            "short",
            (Curve('count(ALERTS{alertstate="firing"}) or vector(0)'),),
            "stat",
            red_from=1,
        ),
        Panel(
            "Processes that do not answer",
            "Targets of Prometheus that are down. Other figures say nothing about a process that does not answer.",
            "short",
            (Curve("count(up == 0) or vector(0)"),),
            "stat",
            red_from=1,
        ),
        Panel(
            "Jobs that do not run",
            "Of study and catalog. Instances are stored meanwhile, but not settled or not shown.",
            "short",
            (Curve("sum(1 - fluoro_job_running)"),),
            "stat",
            red_from=1,
        ),
        Panel(
            "Objects whose event waits",
            "Entries of all outboxes. More than a few for a minute: the broker or the store does not answer.",
            "short",
            (Curve("sum(fluoro_gateway_outbox_open)"),),
            "stat",
            red_from=100,
        ),
        Panel(
            "Damaged objects",
            "How often an object was missing or altered since the processes started, and how many the last verification found so.",
            "short",
            (
                Curve(
                    "(sum(fluoro_gateway_damaged_total or fluoro_api_damaged_total) or vector(0))"
                    ' + (sum(fluoro_verify_findings{kind=~"missing|size|hash|envelope"}) or vector(0))'
                ),
            ),
            "stat",
            red_from=1,
        ),
        Panel(
            "Fullest quarantine",
            "Share of its quota that the fullest tenant has used.",
            "percentunit",
            (
                Curve(
                    "(max(fluoro_gateway_quarantine_bytes) or vector(0)) / scalar(max(fluoro_gateway_quarantine_quota_bytes))"
                ),
            ),
            "stat",
            red_from=0.8,
        ),
        Panel(
            "What senders hear",
            "Instances by outcome. `unavailable`: the sender shall try again.",
            "cps",
            (Curve("sum by (outcome) (rate(fluoro_gateway_instances_total[$__rate_interval]))", "{{outcome}}"),),
        ),
        Panel(
            "Share of instances that were not taken",
            "Those that heard `unavailable` or `failed`.",
            "percentunit",
            (
                Curve(
                    '(sum(rate(fluoro_gateway_instances_total{outcome=~"unavailable|failed"}[$__rate_interval])) or vector(0)) '
                    "/ sum(rate(fluoro_gateway_instances_total[$__rate_interval]))",
                    "not taken",
                ),
            ),
            red_from=0.01,
        ),
        Panel(
            "Unread records",
            "How far the tables are behind. It falls after a peak.",
            "short",
            (Curve("sum by (job_name) (flink_taskmanager_job_task_operator_pendingRecords)", "{{job_name}}"),),
        ),
        Panel(
            "Share of viewers' requests that fail",
            "Answers with status 500 and above.",
            "percentunit",
            (
                Curve(
                    f"(sum(rate({FAILED_REQUESTS}[$__rate_interval])) or vector(0)) / sum(rate({REQUESTS}[$__rate_interval]))",
                    "failed",
                ),
            ),
            red_from=0.02,
        ),
    ),
)

INTAKE = Dashboard(
    "intake",
    "Fluoro: Intake",
    "What comes in over DIMSE and STOW-RS, and what becomes of it.",
    3,
    (
        Panel(
            "Instances by outcome",
            "What senders hear, at both doors.",
            "cps",
            (Curve("sum by (outcome) (rate(fluoro_gateway_instances_total[$__rate_interval]))", "{{outcome}}"),),
        ),
        Panel(
            "Data sets received",
            "Bytes of data sets, at both doors, whatever became of them.",
            "Bps",
            (Curve("sum by (job) (rate(fluoro_gateway_bytes_total[$__rate_interval]))", "{{job}}"),),
        ),
        Panel(
            "Seconds to store an instance",
            "From the last byte of a data set to the answer: the object is in the store, and its event in the broker.",
            "s",
            (
                Curve(f"histogram_quantile(0.5, {STORE_BUCKETS})", "half are faster"),
                Curve(f"histogram_quantile(0.99, {STORE_BUCKETS})", "99 in 100 are faster"),
            ),
        ),
        Panel(
            "Open associations and store requests",
            "Associations by gateway process, and requests of STOW-RS that are being received.",
            "short",
            (
                Curve("sum by (instance) (fluoro_gateway_associations)", "associations {{instance}}"),
                Curve("sum(fluoro_stow_open)", "STOW-RS"),
            ),
        ),
        Panel(
            "Association requests by answer",
            "The reason where one was refused; the log has the line association_refused or contexts_refused.",
            "cps",
            (
                Curve(
                    "sum by (outcome) (rate(fluoro_gateway_association_requests_total[$__rate_interval]))",
                    "{{outcome}}",
                ),
            ),
        ),
        Panel(
            "Store requests by status",
            "Requests of STOW-RS. `gone`: the client left before its answer.",
            "cps",
            (Curve("sum by (status) (rate(fluoro_stow_requests_total[$__rate_interval]))", "{{status}}"),),
        ),
        Panel(
            "Connections that ended early",
            "Associations that were aborted, connections that were turned away, and store requests that were refused.",
            "cps",
            (
                Curve("sum by (reason) (rate(fluoro_gateway_aborts_total[$__rate_interval]))", "aborted: {{reason}}"),
                Curve(
                    "sum by (reason) (rate(fluoro_gateway_turned_away_total[$__rate_interval]))",
                    "turned away: {{reason}}",
                ),
                Curve("sum by (reason) (rate(fluoro_stow_refused_total[$__rate_interval]))", "refused: {{reason}}"),
            ),
        ),
        Panel(
            "Instances that can never be shown",
            "Refused by a reason that lies in their bytes.",
            "cps",
            (Curve("sum by (reason) (rate(fluoro_gateway_rejected_total[$__rate_interval]))", "{{reason}}"),),
        ),
        Panel(
            "Quarantine",
            "Bytes that each tenant has there, and the quota of each.",
            "bytes",
            (
                Curve("max by (tenant) (fluoro_gateway_quarantine_bytes)", "{{tenant}}"),
                Curve("max(fluoro_gateway_quarantine_quota_bytes)", "quota"),
            ),
        ),
        Panel(
            "Outbox",
            "Objects whose event is not published yet. It returns to 0 within a minute.",
            "short",
            (
                Curve("sum by (job, instance) (fluoro_gateway_outbox_open)", "{{job}} {{instance}}"),
                Curve("sum(fluoro_documents_waiting)", "commands and policies"),
            ),
        ),
        Panel(
            "Commands about studies, since the start",
            "By action and outcome, over REST. A reason is what was wrong with what was asked, or the server that did not answer.",
            "short",
            (Curve("sum by (action, outcome) (fluoro_commands_total)", "{{action}}: {{outcome}}"),),
        ),
        Panel(
            "What went wrong inside, since the start",
            "Events published late, what the outbox cannot finish, tasks and producers that failed, lines that the log lost.",
            "short",
            (
                Curve("sum(fluoro_gateway_healed_total)", "events published late"),
                Curve("sum by (what) (fluoro_gateway_outbox_trouble_total)", "outbox: {{what}}"),
                Curve("sum by (task) (fluoro_task_failed_total)", "task failed: {{task}}"),
                Curve("sum by (error) (fluoro_producer_broken_total)", "producer broken: {{error}}"),
                Curve("sum(fluoro_log_lines_lost_total)", "log lines lost"),
            ),
        ),
        Panel(
            "The store's clock",
            "By how much it is ahead of each machine's. More than a second either way: mend time synchronisation.",
            "s",
            (Curve("fluoro_store_clock_ahead_seconds", "{{job}} {{instance}}"),),
            red_from=1,
        ),
    ),
)

READING = Dashboard(
    "reading",
    "Fluoro: Reading",
    "What viewers ask for, and how long they wait.",
    3,
    (
        Panel(
            "Requests by route",
            "Without those of health checks and Prometheus.",
            "reqps",
            (Curve(f"sum by (route) (rate({REQUESTS}[$__rate_interval]))", "{{route}}"),),
        ),
        Panel(
            "Requests by status",
            "Without those of health checks and Prometheus. 0: the client left before any byte of the answer.",
            "reqps",
            (Curve(f"sum by (status) (rate({REQUESTS}[$__rate_interval]))", "{{status}}"),),
        ),
        Panel(
            "Seconds of a search",
            "From the request to the last byte of the answer.",
            "s",
            (
                Curve(f"histogram_quantile(0.5, {SEARCH_BUCKETS})", "half are faster"),
                Curve(f"histogram_quantile(0.99, {SEARCH_BUCKETS})", "99 in 100 are faster"),
            ),
            red_from=2.5,
        ),
        Panel(
            "Seconds of 99 in 100 requests, by route",
            "The time of a retrieval is also its client's, who may read slowly.",
            "s",
            (Curve(f"histogram_quantile(0.99, {ROUTE_BUCKETS})", "{{route}}"),),
        ),
        Panel(
            "Rendered pictures",
            "By outcome: rendered, or why not.",
            "cps",
            (Curve("sum by (outcome) (rate(fluoro_api_rendered_total[$__rate_interval]))", "{{outcome}}"),),
        ),
        Panel(
            "Limits that were met",
            "Answers that were refused, or lack something, because of a limit.",
            "cps",
            (Curve("sum by (limit) (rate(fluoro_api_limited_total[$__rate_interval]))", "{{limit}}"),),
        ),
        Panel(
            "Damaged objects, since the start",
            "Objects that were missing, or not the bytes that were stored, at the read API and at the doors.",
            "short",
            (
                Curve("sum by (reason) (fluoro_api_damaged_total)", "read API: {{reason}}"),
                Curve("sum by (reason) (fluoro_gateway_damaged_total)", "doors: {{reason}}"),
            ),
        ),
        Panel(
            "Rendering processes that ended",
            "`memory` and `wall`: a picture took too much memory or time. `replaced`: they had done their share.",
            "cps",
            (Curve("sum by (why) (rate(fluoro_api_children_ended_total[$__rate_interval]))", "{{why}}"),),
        ),
    ),
)

JOBS = Dashboard(
    "jobs",
    "Fluoro: Jobs",
    "The Flink jobs, which settle studies and fill the catalog.",
    3,
    (
        Panel(
            "Unread records",
            "Records that a job has not fetched yet. It falls after a peak.",
            "short",
            (Curve("sum by (job_name) (flink_taskmanager_job_task_operator_pendingRecords)", "{{job_name}}"),),
        ),
        Panel(
            "Records read",
            "Records that the sources of a job read from Kafka.",
            "cps",
            (
                Curve(
                    "sum by (job_name) (rate("
                    "flink_taskmanager_job_task_operator_KafkaSourceReader_KafkaConsumer_records_consumed_total"
                    "[$__rate_interval]))",
                    "{{job_name}}",
                ),
            ),
        ),
        Panel(
            "Jobs that run, and jobs that have stopped",
            "1 while a job runs; 1 while it has stopped for good, and waits for `jobs resume`.",
            "short",
            (
                Curve("max by (job_name) (fluoro_job_running)", "{{job_name}} runs"),
                Curve("max by (job_name) (fluoro_job_stopped)", "{{job_name}} has stopped"),
            ),
        ),
        Panel(
            "Dead letters",
            "Written in the last hour: each is a record that a job could not process.",
            "short",
            (Curve("max(fluoro_dead_letters_written - min_over_time(fluoro_dead_letters_written[1h]))"),),
        ),
        Panel(
            "Restarts",
            "How often a job was restarted since it was submitted; the log has the line job_failed.",
            "short",
            (Curve("max by (job_name) (flink_jobmanager_job_numRestarts)", "{{job_name}}"),),
        ),
        Panel(
            "Time of a checkpoint",
            "How long the last one took.",
            "ms",
            (Curve("max by (job_name) (flink_jobmanager_job_lastCheckpointDuration)", "{{job_name}}"),),
        ),
        Panel(
            "Checkpoints",
            "Completed and failed in ten minutes: one each FLUORO_JOB_CHECKPOINT_S, 60 by default.",
            "short",
            (
                Curve(
                    "max by (job_name) (increase(flink_jobmanager_job_numberOfCompletedCheckpoints[10m]))",
                    "{{job_name}} completed",
                ),
                Curve(
                    "max by (job_name) (increase(flink_jobmanager_job_numberOfFailedCheckpoints[10m]))",
                    "{{job_name}} failed",
                ),
            ),
        ),
        Panel(
            "Size of a checkpoint",
            "The whole state of a job in its last checkpoint.",
            "bytes",
            (Curve("max by (job_name) (flink_jobmanager_job_lastCheckpointFullSize)", "{{job_name}}"),),
        ),
        Panel(
            "Busy tasks",
            "Share of its time in which the busiest task of a job works. At 1 it cannot do more.",
            "percentunit",
            (Curve("max by (job_name) (flink_taskmanager_job_task_busyTimeMsPerSecond) / 1000", "{{job_name}}"),),
        ),
        Panel(
            "Tasks that wait for the next one",
            "Share of its time in which a task waits because the next one is busy (backpressure).",
            "percentunit",
            (
                Curve(
                    "max by (job_name) (flink_taskmanager_job_task_backPressuredTimeMsPerSecond) / 1000",
                    "{{job_name}}",
                ),
            ),
        ),
        Panel(
            "Records that could not be sent",
            "By the sinks of a job, to Kafka, since it was submitted.",
            "short",
            (
                Curve(
                    "sum by (job_name) (flink_taskmanager_job_task_operator_numRecordsSendErrors)",
                    "{{job_name}}",
                ),
            ),
        ),
        Panel(
            "Memory of the JVM",
            "Heap in use, and the most that it may have.",
            "bytes",
            (
                Curve("flink_taskmanager_Status_JVM_Memory_Heap_Used", "used"),
                Curve("flink_taskmanager_Status_JVM_Memory_Heap_Max", "most"),
            ),
        ),
    ),
)

DASHBOARDS = (NIGHT, INTAKE, READING, JOBS)
