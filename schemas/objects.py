"""The object store's layout: its buckets, the keys of instances, and the metadata of every object."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import cast
from urllib.parse import quote, unquote
from uuid import UUID

from schemas.events import Origin

TENANT = re.compile(r"[a-z0-9-]{1,32}")
UID = re.compile(r"[0-9]+(\.[0-9]+)*")
UID_LENGTH = 64
DATA_HASH = re.compile(r"[0-9a-f]{64}")
# Policies of one kind are asked in the order of their names.
POLICY_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
# A version has six digits in its key.
MOST_VERSIONS = 999_999


class Bucket(StrEnum):
    """The buckets; the first three are the tiers of instances. In the store each name has a prefix, which is a setting."""

    HOT = "hot"
    WARM = "warm"
    COLD = "cold"
    DERIVED = "derived"
    QUARANTINE = "quarantine"


# The tiers that hold instances, by name, from the one that new instances enter to the one that is read least.
TIERS: Mapping[str, Bucket] = {"hot": Bucket.HOT, "warm": Bucket.WARM, "cold": Bucket.COLD}


@dataclass(frozen=True)
class Identity:
    """One content of one instance: the tenant, the instance's UIDs, the hash of its data set."""

    tenant: str
    study_uid: str
    series_uid: str
    sop_uid: str
    data_hash: str

    @cached_property
    def key(self) -> str:
        """Return the object's key; raises ValueError for a part that could change the key's structure."""
        checks = (
            TENANT.fullmatch(self.tenant),
            is_uid(self.study_uid),
            is_uid(self.series_uid),
            is_uid(self.sop_uid),
            DATA_HASH.fullmatch(self.data_hash),
        )
        if not all(checks):
            raise ValueError("a key is made of a tenant, three UIDs and a hash")
        return f"{self.tenant}/{self.study_uid}/{self.series_uid}/{self.sop_uid}_{self.data_hash}.dcm"

    @classmethod
    def of(cls, key: str) -> "Identity":
        """Return the identity whose key this is; raises ValueError for any other string."""
        tenant, study_uid, series_uid, name = key.split("/")
        sop_uid, data_hash = name.removesuffix(".dcm").split("_")
        identity = cls(tenant, study_uid, series_uid, sop_uid, data_hash)
        if identity.key != key:
            raise ValueError("not the key of an instance")
        return identity


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """The metadata of an object: together with the object's bytes, enough to rebuild its event."""

    stored_at: datetime
    received_at: datetime
    origin: Origin
    transfer_id: str
    calling_ae: str
    called_ae: str
    transfer_syntax: str
    prefix_length: int
    prefix_hash: str
    header_length: int
    # Why the object is in quarantine; empty for objects elsewhere, whose metadata have no such entry.
    reason: str = ""

    def to_metadata(self) -> dict[str, str]:
        """Return S3 user metadata without its `x-amz-meta-` prefix: ASCII, percent-encoded where needed."""
        return dict(self._metadata)

    @cached_property
    def _metadata(self) -> dict[str, str]:
        return {
            "stored-at": self.stored_at.isoformat(),
            "received-at": self.received_at.isoformat(),
            "origin": self.origin,
            "transfer-id": self.transfer_id,
            "calling-ae": quote(self.calling_ae),
            "called-ae": quote(self.called_ae),
            "transfer-syntax": self.transfer_syntax,
            "prefix-length": str(self.prefix_length),
            "prefix-hash": self.prefix_hash,
            "header-length": str(self.header_length),
        } | ({"reason": self.reason} if self.reason else {})

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "Envelope":
        """Read an envelope from S3 user metadata; raises KeyError or ValueError when to_metadata() did not write them."""
        return cls(
            stored_at=datetime.fromisoformat(metadata["stored-at"]).astimezone(UTC),
            received_at=datetime.fromisoformat(metadata["received-at"]).astimezone(UTC),
            origin=cast("Origin", metadata["origin"]),
            transfer_id=metadata["transfer-id"],
            calling_ae=unquote(metadata["calling-ae"]),
            called_ae=unquote(metadata["called-ae"]),
            transfer_syntax=metadata["transfer-syntax"],
            prefix_length=int(metadata["prefix-length"]),
            prefix_hash=metadata["prefix-hash"],
            header_length=int(metadata["header-length"]),
            reason=metadata.get("reason", ""),
        )


def command_key(tenant: str, study_uid: str, command_id: str) -> str:
    """Return the key of a command's object; raises ValueError for a part that could change the key's structure."""
    if not (TENANT.fullmatch(tenant) and is_uid(study_uid) and str(UUID(command_id)) == command_id):
        raise ValueError("a command's key is made of a tenant, a study UID and a UUID in its usual form")
    return f"{commands_prefix(tenant, study_uid)}{command_id}.json"


def commands_prefix(tenant: str, study_uid: str) -> str:
    """Return what the keys of a study's commands begin with; no key of an instance does."""
    return f"{tenant}/{study_uid}/_commands/"


def policy_key(tenant: str, kind: str, name: str, version: int) -> str:
    """Return the key of a version of a policy; raises ValueError for a part that could change the key's structure."""
    if not (kind and name and 0 < version <= MOST_VERSIONS):
        raise ValueError("a policy's key is made of a tenant, a kind, a name and a version from 1 to 999999")
    return f"{policies_prefix(tenant, kind, name)}{version:06}.json"


def policies_prefix(tenant: str, kind: str = "", name: str = "") -> str:
    """Return what the keys of a tenant's policies begin with, or of one kind, or of one policy; raises as policy_key().

    No key of a study begins so. The versions of a policy are in the order of their keys.
    """
    parts = [part for part in (kind, name) if part]
    if not (TENANT.fullmatch(tenant) and all(map(POLICY_NAME.fullmatch, parts))):
        raise ValueError("a policy's key is made of a tenant, a kind and a name")
    return "/".join((tenant, "_policies", *parts, ""))


def is_uid(text: str) -> bool:
    """True if the text may be a UID in a key: PS3.5 9.1, and leading zeros too, since vendors send them."""
    return len(text) <= UID_LENGTH and UID.fullmatch(text) is not None
