"""A gateway's settings with its folders in one of a test's own, and a DIMSE door that is open_door with them."""

import socket
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from gateway.dimse.door import Door
from gateway.intake.lifespan import Connectors, open_intake
from gateway.process import open_door
from operators.tasks import Background
from schemas.settings.dimse import DimseSettings
from schemas.settings.intake import IntakeSettings, QuarantineSettings


@dataclass(frozen=True)
class GatewaySections:
    """The sections that one gateway reads, but for those of its servers."""

    dimse: DimseSettings
    intake: IntakeSettings
    quarantine: QuarantineSettings

    def changed(self, **changes: Any) -> "GatewaySections":
        """Return the same sections with other values, each in the section that has a field of its name."""
        sections: dict[str, Any] = {}
        for section in (self.dimse, self.intake, self.quarantine):
            own = {one.name: changes.pop(one.name) for one in fields(section) if one.name in changes}
            sections[section.section.lower()] = replace(section, **own)
        assert not changes, f"no section has {changes}"
        return GatewaySections(**sections)


def intake_in(folder: Path, **changes: Any) -> IntakeSettings:
    """Return an intake's settings with spool and outbox in a folder."""
    return IntakeSettings(spool_dir=folder / "spool", outbox_dir=folder / "outbox", **changes)


def gateway_in(folder: Path, **changes: Any) -> GatewaySections:
    """Return the settings of a gateway of one process, with spool and outbox in a folder."""
    return GatewaySections(DimseSettings(processes=1), intake_in(folder), QuarantineSettings()).changed(**changes)


def door_of(
    listening: socket.socket, sections: GatewaySections, connectors: Connectors
) -> AbstractAsyncContextManager[Door]:
    """Take connections as a gateway process with these settings does."""
    return open_door(
        listening, sections.dimse, open_intake(sections.intake, sections.quarantine, connectors, Background())
    )
