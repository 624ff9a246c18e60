"""A principal may do what its rule allows, and nothing else."""

import pytest

from operators.access.principal import NotAllowed, Principal, authorize

LOOPBACK = Principal("local", "loopback", "peer address")


@pytest.mark.parametrize("action", ["read", "store", "command"])
def test_until_there_are_roles_everyone_may_read_store_and_command(action: str) -> None:
    authorize(LOOPBACK, action, "/dicomweb/studies")


@pytest.mark.parametrize(("action", "resource"), [("delete", "/dicomweb/studies"), ("read", "")])
def test_anything_else_is_refused(action: str, resource: str) -> None:
    with pytest.raises(NotAllowed, match="not-allowed"):
        authorize(LOOPBACK, action, resource)
