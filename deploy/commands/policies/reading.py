"""Read versions of a policy from the object store, where each is an object."""

from deploy.errors import Failed
from operators.store.policies import readable, versions
from operators.store.ports import ObjectStore
from schemas.events import PolicyChanged
from schemas.objects import policy_key


async def every_version(store: ObjectStore, tenant: str, kind: str, name: str) -> list[PolicyChanged]:
    """Return the versions of a policy that can be read, the latest first; raises Failed if there is no such policy."""
    numbers = await numbers_of(store, tenant, kind, name)
    found = [await readable(store, policy_key(tenant, kind, name, number)) for number in reversed(numbers)]
    return [version for version in found if version]


async def one_version(store: ObjectStore, tenant: str, kind: str, name: str, number: int | None) -> PolicyChanged:
    """Return a version of a policy, the one in force if no number is given; raises Failed if it is not there."""
    numbers = await numbers_of(store, tenant, kind, name)
    if number not in (None, *numbers):
        raise Failed(f"the policy {name} of {kind} has no version {number}: its last one is {numbers[-1]}")
    key = policy_key(tenant, kind, name, number or numbers[-1])
    if (version := await readable(store, key)) is None:
        raise Failed(f"the object {key} is no version of a policy: put the policy anew")
    return version


async def numbers_of(store: ObjectStore, tenant: str, kind: str, name: str) -> list[int]:
    """Return the numbers of a policy's versions; raises Failed if there is no such policy."""
    found = await versions(store, tenant, kind, name)
    if (kind, name) not in found:
        raise Failed(f"there is no policy {name} of {kind}: `policies list` lists all")
    return found[kind, name]
