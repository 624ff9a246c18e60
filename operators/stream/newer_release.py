"""What only a newer release can read: a job that meets it stops for good, and goes on once that release is started."""

from operators.stream.step import Stop
from schemas.codec import UnknownSchema

UNKNOWN_SCHEMA = "unknown-schema"
UNKNOWN_STATE = "unknown-state"


class UnknownState(ValueError):
    """State of a version that this code cannot read: the job must stop rather than guess."""


# The errors for which a job stops, so that Flink does not try again what cannot succeed.
NEWER_RELEASE = (UnknownSchema, UnknownState)


def stop_of(error: UnknownSchema | UnknownState) -> Stop:
    """Return the stop of a job that has met an event or a state of a newer release."""
    return Stop(UNKNOWN_SCHEMA if isinstance(error, UnknownSchema) else UNKNOWN_STATE, str(error))
