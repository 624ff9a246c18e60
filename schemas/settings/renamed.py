"""Settings that have a new name: the old name is read for one release, and a line names the new one."""

from collections.abc import Mapping

# No section has this name any more.
RETIRED_PREFIX = "FLUORO_GATEWAY_"

RENAMED = {
    "FLUORO_GATEWAY_HOST": "FLUORO_DIMSE_HOST",
    "FLUORO_GATEWAY_PORT": "FLUORO_DIMSE_PORT",
    "FLUORO_GATEWAY_AE_TITLE": "FLUORO_DIMSE_AE_TITLE",
    "FLUORO_GATEWAY_ONLY_CALLED_AE": "FLUORO_DIMSE_ONLY_CALLED_AE",
    "FLUORO_GATEWAY_TENANT": "FLUORO_DIMSE_TENANT",
    "FLUORO_GATEWAY_PROCESSES": "FLUORO_DIMSE_PROCESSES",
    "FLUORO_GATEWAY_METRICS_PORT": "FLUORO_DIMSE_METRICS_PORT",
    "FLUORO_GATEWAY_MAX_PDU_BYTES": "FLUORO_DIMSE_MAX_PDU_BYTES",
    "FLUORO_GATEWAY_FIRST_PDU_BYTES": "FLUORO_DIMSE_ASSOCIATE_PDU_BYTES",
    "FLUORO_GATEWAY_ASSOCIATE_S": "FLUORO_DIMSE_ASSOCIATE_S",
    "FLUORO_GATEWAY_SILENCE_S": "FLUORO_DIMSE_SILENCE_S",
    "FLUORO_GATEWAY_SLOWEST_BYTES_PER_S": "FLUORO_DIMSE_SLOWEST_BYTES_PER_S",
    "FLUORO_GATEWAY_IDLE_S": "FLUORO_DIMSE_IDLE_S",
    "FLUORO_GATEWAY_STALL_S": "FLUORO_DIMSE_STALL_S",
    "FLUORO_GATEWAY_ASSOCIATIONS": "FLUORO_DIMSE_ASSOCIATIONS",
    "FLUORO_GATEWAY_ASSOCIATIONS_PER_ADDRESS": "FLUORO_DIMSE_ASSOCIATIONS_PER_ADDRESS",
    "FLUORO_GATEWAY_BALANCERS": "FLUORO_DIMSE_BALANCERS",
    "FLUORO_GATEWAY_YIELD_S": "FLUORO_DIMSE_YIELD_S",
    "FLUORO_GATEWAY_PEERS_FILE": "FLUORO_DIMSE_PEERS_FILE",
    "FLUORO_GATEWAY_TLS_CERTIFICATE": "FLUORO_DIMSE_TLS_CERTIFICATE",
    "FLUORO_GATEWAY_TLS_KEY": "FLUORO_DIMSE_TLS_KEY",
    "FLUORO_GATEWAY_TLS_CLIENT_CA": "FLUORO_DIMSE_TLS_CLIENT_CA",
    "FLUORO_GATEWAY_PLAINTEXT_PUBLIC": "FLUORO_DIMSE_PLAINTEXT_PUBLIC",
    "FLUORO_GATEWAY_CONTEXTS": "FLUORO_DIMSE_CONTEXTS",
    "FLUORO_GATEWAY_TRANSFER_SYNTAXES": "FLUORO_DIMSE_TRANSFER_SYNTAXES",
    "FLUORO_GATEWAY_UNKNOWN_SYNTAXES": "FLUORO_DIMSE_UNKNOWN_SYNTAXES",
    "FLUORO_GATEWAY_USER_INFORMATION_BYTES": "FLUORO_DIMSE_USER_INFORMATION_BYTES",
    "FLUORO_GATEWAY_COMMAND_BYTES": "FLUORO_DIMSE_COMMAND_BYTES",
    "FLUORO_GATEWAY_FRAGMENTS": "FLUORO_DIMSE_FRAGMENTS",
    "FLUORO_GATEWAY_FRAGMENT_BYTES": "FLUORO_DIMSE_FRAGMENT_BYTES",
    "FLUORO_GATEWAY_UNANSWERED": "FLUORO_DIMSE_UNANSWERED_REQUESTS",
    "FLUORO_GATEWAY_DEPTH": "FLUORO_INTAKE_DEPTH",
    "FLUORO_GATEWAY_ITEMS": "FLUORO_INTAKE_ITEMS",
    "FLUORO_GATEWAY_ELEMENTS": "FLUORO_INTAKE_ELEMENTS",
    "FLUORO_GATEWAY_INFLATE_RATIO": "FLUORO_INTAKE_INFLATE_RATIO",
    "FLUORO_GATEWAY_INFLATED_BYTES": "FLUORO_INTAKE_INFLATED_BYTES",
    "FLUORO_GATEWAY_MEMORY_INSTANCE_BYTES": "FLUORO_INTAKE_MEMORY_INSTANCE_BYTES",
    "FLUORO_GATEWAY_MEMORY_PROCESS_BYTES": "FLUORO_INTAKE_MEMORY_PROCESS_BYTES",
    "FLUORO_GATEWAY_INSTANCE_BYTES": "FLUORO_INTAKE_INSTANCE_BYTES",
    "FLUORO_GATEWAY_SPOOL_DIR": "FLUORO_INTAKE_SPOOL_DIR",
    "FLUORO_GATEWAY_SPOOL_PROCESS_BYTES": "FLUORO_INTAKE_SPOOL_PROCESS_BYTES",
    "FLUORO_GATEWAY_OUTBOX_DIR": "FLUORO_INTAKE_OUTBOX_DIR",
    "FLUORO_GATEWAY_HEAL_S": "FLUORO_INTAKE_LATE_PUT_S",
    "FLUORO_GATEWAY_FAILPOINT": "FLUORO_INTAKE_FAILPOINT",
    "FLUORO_GATEWAY_QUARANTINE_DAYS": "FLUORO_QUARANTINE_DAYS",
    "FLUORO_GATEWAY_QUARANTINE_BYTES": "FLUORO_QUARANTINE_TENANT_BYTES",
    "FLUORO_GATEWAY_QUARANTINE_LOOK_S": "FLUORO_QUARANTINE_MEASURE_S",
    "FLUORO_API_RENDER_CHILDREN": "FLUORO_RENDER_PROCESSES",
    "FLUORO_API_RENDER_QUEUE": "FLUORO_RENDER_QUEUE",
    "FLUORO_API_RENDER_MEMORY_BYTES": "FLUORO_RENDER_MEMORY_BYTES",
    "FLUORO_API_RENDER_CPU_S": "FLUORO_RENDER_CPU_S",
    "FLUORO_API_RENDER_WALL_S": "FLUORO_RENDER_WALL_S",
    "FLUORO_API_RENDER_FRAME_BYTES": "FLUORO_RENDER_FRAME_BYTES",
}


def new_name(name: str) -> str | None:
    """Return the name that a setting, or the file of a secret setting, has now; None when it was not renamed."""
    if name in RENAMED:
        return RENAMED[name]
    file_of = RENAMED.get(name.removesuffix("_FILE"))
    return f"{file_of}_FILE" if file_of else None


def with_new_names(prefix: str, env: Mapping[str, str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Return the environment with every old name's value under the new name too, where that has the prefix.

    Also returns a notice for every old name that is read, and a problem for every old name whose new name has another
    value.
    """
    known, notices, problems = dict(env), [], []
    for old, value in env.items():
        new = new_name(old)
        if new is None or not new.startswith(prefix):
            continue
        if env.get(new, value) != value:
            problems.append(f"{old}: is now {new}, which has another value: remove {old}")
        known[new] = env.get(new, value)
        notices.append(f"{old} is now {new}; the old name is read until the next release")
    return known, notices, problems


def without_old_names(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with new names alone; a value under a new name is kept before one under its old name."""
    renamed = {new: value for old, value in env.items() if (new := new_name(old))}
    return renamed | {name: value for name, value in env.items() if not new_name(name)}
