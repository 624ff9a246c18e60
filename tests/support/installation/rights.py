"""The rights of the document's table, as ACLs of Kafka and as statements of S3 policies."""

from collections.abc import Iterator

from schemas.objects import Bucket
from schemas.topics import TOPICS
from tests.support.installation.printed import BROKER_COLUMN, STORE_COLUMN, Clause, rights
from tests.support.servers.secured.kafka import Right
from tests.support.servers.secured.minio import Statement

ALL_TOPICS = tuple(topic.name for topic in TOPICS)
ON_OBJECTS = ("GetObject", "PutObject", "DeleteObject")
# The user that each process has at the broker and at the store.
USERS = {
    "gateway": "gateway",
    "deploy.web": "web",
    "deploy.flink.cluster": "jobs",
    "deploy.commands": "commands",
    "pipelines.batch.rebuild": "rebuild",
    "pipelines.batch.replay": "replay",
    "pipelines.batch.verify": "verification",
    "deploy.prepare": "prepare",
}
# A user who may do nothing.
GUEST = "guest"


def broker_rights() -> dict[str, list[Right]]:
    """Return the ACLs of each user."""
    return {USERS[process]: [*_acls(clauses)] for process, clauses in rights(BROKER_COLUMN).items()}


def store_rights(prefix: str) -> dict[str, list[Statement]]:
    """Return the statements of each user's policy, for buckets with this prefix; processes without any are left out."""
    found = rights(STORE_COLUMN)
    return {
        USERS[process]: [_statement(one, prefix) for one in clauses] for process, clauses in found.items() if clauses
    }


def _acls(clauses: list[Clause]) -> Iterator[Right]:
    for clause in clauses:
        for name in clause.places or ALL_TOPICS:
            kind = "TOPIC" if name in ALL_TOPICS else "GROUP"
            yield from ((kind, name, operation) for operation in clause.may)


def _statement(clause: Clause, prefix: str) -> Statement:
    buckets = [f"{prefix}{name}" for name in clause.places or Bucket]
    return [f"s3:{action}" for action in clause.may], [*buckets, *(f"{bucket}/*" for bucket in buckets)]
