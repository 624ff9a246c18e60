"""A Kafka broker that speaks TLS alone, knows users by SCRAM-SHA-512, and lets each do what its ACLs allow."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from deploy.local.data_folder import DataFolder
from operators.connectors.kafka.clients import BrokerAdmin
from schemas.settings.servers import BrokerSettings
from tests.support.machine.own_broker import own_broker
from tests.support.servers.secured.authority import Authority

MECHANISM = "SCRAM-SHA-512"
# The user that ACLs do not bind: the broker itself, and whoever writes ACLs.
OWNER = "owner"
LOGIN = 'org.apache.kafka.common.security.scram.ScramLoginModule required username="{user}" password="{password}";'
SECURED = {
    "listener.security.protocol.map": "BROKER:SASL_SSL,CONTROLLER:PLAINTEXT",
    "sasl.enabled.mechanisms": MECHANISM,
    "sasl.mechanism.inter.broker.protocol": MECHANISM,
    "ssl.keystore.type": "PEM",
    "ssl.truststore.type": "PEM",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    # The broker speaks to itself as controller in plain text, without a user.
    "super.users": f"User:{OWNER};User:ANONYMOUS",
    "early.start.listeners": "CONTROLLER",
}
WITHIN_S = 20.0

# What an ACL is about, such as ("TOPIC", "study-due"), and what it allows there, such as "READ".
Right = tuple[str, str, str]


def broker_password(folder: DataFolder, user: str) -> str:
    """Return the password of a broker's user."""
    return folder.secret(f"broker-{user}")


@contextmanager
def secured_kafka(folder: DataFolder, signed: Authority, users: Iterable[str]) -> Iterator[BrokerSettings]:
    """Run a broker that knows these users, who may do nothing yet; yield the settings of its owner."""
    passwords = {user: broker_password(folder, user) for user in (OWNER, *users)}
    both = folder.root / "secrets" / "kafka-server.pem"
    both.write_text(signed.key.read_text() + signed.certificate.read_text())
    changes = SECURED | {
        "ssl.keystore.location": str(both),
        "ssl.truststore.location": str(signed.ours),
        "listener.name.broker.scram-sha-512.sasl.jaas.config": LOGIN.format(user=OWNER, password=passwords[OWNER]),
    }
    known = [f"{MECHANISM}=[name={user},password={password}]" for user, password in passwords.items()]
    options = [word for one in known for word in ("--add-scram", one)]
    with own_broker(folder.root, changes, options) as plain:
        yield BrokerSettings(
            bootstrap=plain.bootstrap,
            security_protocol="SASL_SSL",
            user=OWNER,
            password=passwords[OWNER],
            tls_ca=str(signed.ours),
        )


def allow(owner: BrokerSettings, rights: Mapping[str, Iterable[Right]]) -> None:
    """Let each user do, at the broker, what these rights allow."""
    admin = BrokerAdmin(owner)
    made = admin.create_acls([AclBinding(*_entry(user, right)) for user, some in rights.items() for right in some])
    with admin.asking():
        for future in made.values():
            future.result(WITHIN_S)


def forbid(owner: BrokerSettings, user: str, right: Right) -> None:
    """Take one of its rights from a user."""
    admin = BrokerAdmin(owner)
    (future,) = admin.delete_acls([AclBindingFilter(*_entry(user, right))]).values()
    with admin.asking():
        assert len(future.result(WITHIN_S)) == 1


@contextmanager
def without(owner: BrokerSettings, user: str, right: Right) -> Iterator[None]:
    """Take one of its rights from a user for the block."""
    forbid(owner, user, right)
    try:
        yield
    finally:
        allow(owner, {user: [right]})


def _entry(user: str, right: Right) -> tuple[object, ...]:
    """Return the parts of an ACL."""
    kind, name, operation = right
    allowed = (AclOperation[operation], AclPermissionType.ALLOW)
    return (ResourceType[kind], name, ResourcePatternType.LITERAL, f"User:{user}", "*", *allowed)
