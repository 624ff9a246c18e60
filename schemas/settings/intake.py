"""The intake of instances over DIMSE or STOW-RS: limits, memory, spool, outbox, quarantine."""

import re
from dataclasses import dataclass
from pathlib import Path

from schemas.objects import TENANT as TENANT_FORM
from schemas.settings.reading import Rule, setting

TENANT = Rule(lambda name: TENANT_FORM.fullmatch(name) is not None, "1 to 32 small letters, digits and -")
_FAILPOINT = re.compile("((after_(spool|intent|put|event|done)|mid_transfer_end)(:[1-9][0-9]*)?)?")
FAILPOINT = Rule(lambda point: _FAILPOINT.fullmatch(point) is not None, "such as after_put, or after_put:3")


@dataclass(frozen=True)
class IntakeSettings:
    """The intake of one process, for instances received over DIMSE or STOW-RS."""

    section = "INTAKE"
    # Limits of the structure of one data set; a data set beyond them is quarantined as unreadable.
    depth: int = setting(64, least=1, most=64)
    items: int = setting(100_000, least=1)
    elements: int = setting(200_000, least=1)
    inflate_ratio: int = setting(100, least=1, most=1032)
    inflated_bytes: int = setting(512 * 2**20, least=1)
    # A larger instance is received into a file of the spool.
    memory_instance_bytes: int = setting(8 * 2**20, least=0)
    # Memory for the data sets of one process; the rest of the process takes 100 MiB and more.
    memory_process_bytes: int = setting(320 * 2**20, least=2**20)
    # A larger instance is refused.
    instance_bytes: int = setting(4 * 2**30, least=1)
    spool_dir: Path = setting(Path(".data/spool"))
    # Bytes in the spool files of one process; when they would take more, the sender is asked to try again later.
    spool_process_bytes: int = setting(64 * 2**30, least=0)
    outbox_dir: Path = setting(Path(".data/outbox"))
    # How long an object whose PUT has failed may still appear in the store.
    late_put_s: float = setting(60.0, least=0)
    # Where a process kills itself: `after_put`, or `after_put:3` for the third time that it gets there; empty: nowhere.
    # The process that the gateway starts in its place does not.
    failpoint: str = setting("", rule=FAILPOINT, tests=True)


@dataclass(frozen=True)
class QuarantineSettings:
    """The quarantine: how long refused objects are kept, and how many bytes of them for each tenant."""

    section = "QUARANTINE"
    days: int = setting(30, least=1, most=3650)
    tenant_bytes: int = setting(10 * 2**30, least=0)
    # How often the bytes in the store are counted again.
    measure_s: float = setting(300.0, least=1)
