"""The verification of stored objects: how fast it reads, how often, and where it notes what it has done."""

from dataclasses import dataclass

from schemas.settings.reading import PORT, setting


@dataclass(frozen=True)
class VerifySettings:
    """The verification of every object against the catalog."""

    section = "VERIFY"
    # How much of a core each of its processes may take, by its own CPU time; 1: it makes no pauses.
    cpu_share: float = setting(0.1, least=0.001, most=1)
    # An object that the store took less than this ago may have no row yet, and is not missed in the catalog.
    grace_s: float = setting(600.0, least=0)
    # How long after the begin of the last pass over everything the next one begins, where they begin by themselves.
    every_s: float = setting(7 * 86400.0, least=1)
    # How long after its first start that begins its first pass.
    first_s: float = setting(3600.0, least=0)
    # The process that begins passes serves its metrics at this port; 0: it does not.
    metrics_port: int = setting(0, **PORT)
