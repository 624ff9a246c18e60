"""The address of an archive under audit: where its stores, read API, logs and metrics are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class ArchiveAddress:
    """Where an archive is: the addresses of its stores as FLUORO_* variables, its API, its folders of logs."""

    env: Mapping[str, str] = field(repr=False)
    api: str
    logs: tuple[Path, ...] = ()
    metrics: tuple[str, ...] = ()
    tenant: str = "local"

    def setting(self, name: str, default: str = "") -> str:
        """Return a variable's value, or what is in the file that its `_FILE` variant names."""
        if f"{name}_FILE" in self.env:
            return Path(self.env[f"{name}_FILE"]).read_text().strip()
        return self.env.get(name, default)
