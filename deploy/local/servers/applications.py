"""Fluoro's own servers: the Flink cluster with its jobs, the DIMSE gateway, the web server, and the verification."""

from deploy.flink.stopped import stopped_jobs
from deploy.local.servers import health
from deploy.local.stack import Stack
from deploy.local.supervision.programs import Program, ServerProgram
from pipelines.jobs import JOBS
from schemas.settings.dimse import DimseSettings

# deploy.web kills its workers after 20 s.
WEB_STOP_S = 22


def programs(stack: Stack) -> tuple[Program, ...]:
    """Return Fluoro's servers; the jobs only if the stack has them."""
    return (*((flink(stack),) if stack.with_jobs else ()), gateway(stack), web(stack), verification(stack))


def flink(stack: Stack) -> ServerProgram:
    """Return the Flink cluster, which submits its jobs itself."""
    own = stack.layout.flink_environment() | {"FLUORO_DATA": str(stack.folder.root)}
    return ServerProgram(
        name="flink",
        command=stack.python("-m", "deploy.flink.cluster"),
        needs=("topics", "buckets", "catalog"),
        env=stack.env(stack.job, stack.broker, stack.store, stack.catalog("writer"), stack.study, stack.facts) | own,
        check_health=health.runs_jobs(stack.job.rest_port, lambda: len(JOBS) - len(stopped_jobs(stack.job))),
        ready_s=120,
        stop_s=12,
    )


def gateway(stack: Stack) -> ServerProgram:
    """Return the DIMSE gateway."""
    return ServerProgram(
        name="gateway",
        command=stack.python("-m", "gateway"),
        needs=("topics", "buckets"),
        env=stack.env(stack.dimse, stack.intake, stack.quarantine, stack.broker, stack.store),
        check_health=gateway_health(stack.dimse),
    )


def web(stack: Stack) -> ServerProgram:
    """Return the web server, which reads from the catalog and stores instances received by STOW-RS."""
    own, intake = (stack.api, stack.render, stack.stow), (stack.intake, stack.quarantine)
    return ServerProgram(
        name="web",
        command=stack.python("-m", "deploy.web"),
        needs=("topics", "buckets", "catalog"),
        env=stack.env(*own, *intake, stack.store, stack.catalog("reader"), stack.broker),
        check_health=health.answers_ok(stack.api.port, "/healthz", stack.api.host),
        stop_s=WEB_STOP_S,
    )


def verification(stack: Stack) -> ServerProgram:
    """Return the process that begins the passes of the verification."""
    return ServerProgram(
        name="verify",
        command=stack.python("-m", "deploy.verification"),
        needs=("buckets", "catalog"),
        env=stack.env(stack.verify, stack.batch, stack.store, stack.catalog("writer"), stack.broker, stack.intake),
        check_health=health.answers_ok(stack.verify.metrics_port, "/metrics"),
    )


def gateway_health(dimse: DimseSettings) -> health.Check:
    """Return the check of a gateway: an association, if it takes one from anybody on this machine.

    With TLS it may demand a certificate of its callers, so a handshake is enough. With a peers file it would refuse the
    association and log that, so its first process is asked whether it lives, or, without a port for metrics, its socket.
    """
    if dimse.tls_certificate:
        return health.shows_certificate(dimse.host, dimse.port)
    if dimse.peers_file and dimse.metrics_port:
        return health.answers_ok(dimse.metrics_port, "/livez", dimse.host)
    if dimse.peers_file:
        return health.listens(dimse.port, dimse.host)
    return health.answers_association(dimse.host, dimse.port, dimse.ae_title)
