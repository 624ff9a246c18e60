"""The settings of a command: from the environment if it names a server, else from this machine's local stack."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from deploy.commands.output import print_line
from deploy.errors import Failed
from deploy.local import data_folder
from deploy.local.running import RunningStack
from schemas.settings.intake import IntakeSettings
from schemas.settings.jobs import JobSettings
from schemas.settings.reading import SettingsError, load_all
from schemas.settings.servers import BrokerSettings, CatalogSettings, StoreSettings
from schemas.settings.web import ApiSettings

T = TypeVar("T")

# The local stack chooses these itself, so a command with one of them in its environment is meant for other servers.
ADDRESSES = (
    "FLUORO_STORE_ENDPOINT",
    "FLUORO_STORE_ACCESS_KEY",
    "FLUORO_STORE_SECRET_KEY",
    "FLUORO_BROKER_BOOTSTRAP",
    "FLUORO_CATALOG_HOST",
    "FLUORO_CATALOG_PORT",
    "FLUORO_CATALOG_DATABASE",
    "FLUORO_CATALOG_USER",
    "FLUORO_CATALOG_PASSWORD",
)
# The role of the read API: row-level security hides every row from it unless a tenant is set.
READER = "reader"


@dataclass(frozen=True)
class RowSections:
    """The settings of a command that needs only rows of the catalog."""

    catalog: CatalogSettings


@dataclass(frozen=True)
class ObjectSections:
    """The settings of a command that needs rows and objects."""

    catalog: CatalogSettings
    store: StoreSettings


@dataclass(frozen=True)
class DecisionSections:
    """The settings of a decision about the quarantine; address and tenant of the STOW-RS door are the read API's."""

    catalog: CatalogSettings
    store: StoreSettings
    broker: BrokerSettings
    intake: IntakeSettings
    api: ApiSettings


@dataclass(frozen=True)
class PublishingSections:
    """The settings of what stores an object and publishes its event; the tenant is the read API's unless one is named."""

    store: StoreSettings
    broker: BrokerSettings
    intake: IntakeSettings
    api: ApiSettings


@dataclass(frozen=True)
class TenantSections:
    """The settings of a command that reads objects of one tenant, which is the read API's unless one is named."""

    store: StoreSettings
    api: ApiSettings


@dataclass(frozen=True)
class TenantRowSections:
    """The settings of a command that reads objects and rows of one tenant, which is the read API's unless one is named."""

    catalog: CatalogSettings
    store: StoreSettings
    api: ApiSettings


@dataclass(frozen=True)
class HistorySections:
    """The settings of a study's history; its tenant is the read API's unless it names one."""

    catalog: CatalogSettings
    api: ApiSettings


@dataclass(frozen=True)
class ShardSections:
    """The settings of a change of the catalog job's shards."""

    catalog: CatalogSettings
    broker: BrokerSettings
    job: JobSettings


def load_sections(kind: type[T]) -> T:
    """Read the sections of one of the dataclasses above; raises SettingsError with a line for every problem.

    It is a problem when the role of `catalog`, if there is one, cannot see quarantine and conflicts.
    """
    sections: Any = load_all(kind, variables(), with_store_keys=True)
    if hasattr(sections, "catalog") and sections.catalog.user == READER:
        raise SettingsError(f"FLUORO_CATALOG_USER: should be writer; {READER} sees one tenant alone")
    return sections  # type: ignore[no-any-return]


def variables() -> Mapping[str, str]:
    """Return the environment if it names a server, else the settings of the local stack, after a line that names it.

    Raises SettingsError when no stack runs either.
    """
    if any(name in os.environ or f"{name}_FILE" in os.environ for name in ADDRESSES):
        return os.environ
    running = RunningStack(data_folder.here())
    try:
        local = running.plan.settings("writer")
    except Failed as failure:
        raise SettingsError(
            f"{failure}.\nTo work with other servers, export FLUORO_CATALOG_*, FLUORO_STORE_* and FLUORO_BROKER_*"
        ) from None
    print_line(f"On the local stack in {running.folder.root}:", sys.stderr)
    return local
