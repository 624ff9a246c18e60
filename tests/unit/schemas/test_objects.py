"""No part of a key can change its structure; an envelope is read back from metadata as it was written."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.objects import Envelope, Identity, command_key, commands_prefix, policies_prefix, policy_key

HASH = "0f" * 32
GOOD = Identity("local", "1.2.3", "1.2.3.4", "1.2.3.4.5", HASH)


def test_a_key_is_tenant_study_series_and_instance_with_its_hash() -> None:
    assert GOOD.key == f"local/1.2.3/1.2.3.4/1.2.3.4.5_{HASH}.dcm"


def test_a_key_is_read_back_as_its_identity() -> None:
    assert Identity.of(GOOD.key) == GOOD


@given(st.text(), st.text(), st.text(), st.text(), st.text())
def test_any_strings_make_a_key_under_their_tenant_or_are_refused(
    tenant: str, study: str, series: str, sop: str, data_hash: str
) -> None:
    identity = Identity(tenant, study, series, sop, data_hash)
    try:
        key = identity.key
    except ValueError:
        return

    assert key.split("/") == [tenant, study, series, f"{sop}_{data_hash}.dcm"]
    assert ".." not in key


@pytest.mark.parametrize("uid", ["", ".", "..", "1..2", "1.", "a.b", "1.2/3", "1" * 65, "1.2\n", "\u0661.2"])
def test_a_text_that_is_no_uid_never_enters_a_key(uid: str) -> None:
    with pytest.raises(ValueError, match="a key is made of"):
        _ = Identity("local", uid, "1.2", "1.2", HASH).key


@pytest.mark.parametrize("key", ["", "a/b", f"local/1.2/1.2/1.2_{HASH}", f"Local/1.2/1.2/1.2_{HASH}.dcm"])
def test_a_text_that_is_no_key_has_no_identity(key: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Identity.of(key)


@given(st.text(max_size=16), st.text(max_size=16), st.datetimes(timezones=st.just(UTC)))
def test_an_envelope_survives_the_store_as_ascii(calling: str, called: str, now: datetime) -> None:
    envelope = Envelope(
        stored_at=now,
        received_at=now,
        origin="received",
        transfer_id="t-1",
        calling_ae=calling,
        called_ae=called,
        transfer_syntax="1.2.840.10008.1.2.1",
        prefix_length=330,
        prefix_hash=HASH,
        header_length=4000,
    )
    metadata = envelope.to_metadata()

    assert all(value.isascii() and value.isprintable() for value in metadata.values())
    assert Envelope.from_metadata(metadata) == envelope


def test_a_commands_key_is_its_studys_and_its_id() -> None:
    key = command_key("local", "1.2.3", "6f1f2a5e-3f0b-4c7e-9a51-1c8a4f0f6b21")

    assert key == "local/1.2.3/_commands/6f1f2a5e-3f0b-4c7e-9a51-1c8a4f0f6b21.json"
    assert key.startswith(commands_prefix("local", "1.2.3"))


@pytest.mark.parametrize(
    "command_id", ["", "a", "../6f1f2a5e-3f0b-4c7e-9a51-1c8a4f0f6b21", "6F1F2A5E3F0B4C7E9A511C8A4F0F6B21"]
)
def test_a_text_that_is_no_uuid_in_its_usual_form_never_enters_a_commands_key(command_id: str) -> None:
    with pytest.raises(ValueError, match="UUID"):
        command_key("local", "1.2.3", command_id)


def test_a_commands_key_is_no_instances() -> None:
    with pytest.raises(ValueError, match=r"key|unpack"):
        Identity.of(command_key("local", "1.2.3", "6f1f2a5e-3f0b-4c7e-9a51-1c8a4f0f6b21"))


def test_a_policys_key_is_its_kind_its_name_and_its_version_in_the_order_of_versions() -> None:
    keys = [policy_key("local", "tiering", "age", version) for version in (1, 2, 10, 999_999)]

    assert keys[0] == "local/_policies/tiering/age/000001.json"
    assert keys == sorted(keys)
    assert all(key.startswith(policies_prefix("local", "tiering", "age")) for key in keys)
    assert keys[0].startswith(policies_prefix("local", "tiering"))
    assert keys[0].startswith(policies_prefix("local"))


@pytest.mark.parametrize(
    ("kind", "name", "version"),
    [
        ("tiering", "../x", 1),
        ("tiering", "", 1),
        ("tiering/x", "age", 1),
        ("tiering", "Age", 1),
        ("tiering", "age", 0),
        ("tiering", "age", 10**6),
    ],
)
def test_a_part_that_could_change_its_structure_never_enters_a_policys_key(kind: str, name: str, version: int) -> None:
    with pytest.raises(ValueError, match="policy"):
        policy_key("local", kind, name, version)


def test_a_policys_key_is_no_instances() -> None:
    with pytest.raises(ValueError, match=r"key|unpack"):
        Identity.of(policy_key("local", "tiering", "age", 1))
