"""A MinIO store that speaks TLS alone, and lets each of its users do what a policy allows."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import httpx
import urllib3
from minio import MinioAdmin
from minio.credentials.providers import StaticProvider

from deploy.install import layout
from deploy.local.data_folder import DataFolder
from deploy.local.ports import choose_ports
from deploy.local.running import end, wait_until
from deploy.local.supervision.programs import tied_to_this_process
from schemas.settings.servers import StoreSettings
from tests.support.servers.secured.authority import Authority

OWNER = "owner"
READY_S = 30.0
QUIET = {"MINIO_BROWSER": "off", "MINIO_UPDATE": "off", "MINIO_CALLHOME_ENABLE": "off"}

# Actions of S3, such as "s3:GetObject", and the buckets or objects to which they are allowed, such as "clinic-*/*".
Statement = tuple[Sequence[str], Sequence[str]]


def secret_key(folder: DataFolder, user: str) -> str:
    """Return the secret key of a user, whose access key is the user's name."""
    return folder.secret(f"store-{user}")


@contextmanager
def secured_minio(folder: DataFolder, signed: Authority) -> Iterator[StoreSettings]:
    """Run an empty store for the block; yield the settings of its owner."""
    certificates, data = folder.root / "minio-certificates", folder.root / "minio"
    certificates.mkdir()
    shutil.copyfile(signed.certificate, certificates / "public.crt")
    shutil.copyfile(signed.key, certificates / "private.key")
    address = f"127.0.0.1:{choose_ports(folder, {'minio': 0}, {})['minio']}"
    settings = StoreSettings(
        endpoint=f"https://{address}", access_key=OWNER, secret_key=secret_key(folder, OWNER), tls_ca=str(signed.ours)
    )
    command = (layout.here().minio, "server", "--address", address, "--certs-dir", certificates, data)
    env = QUIET | {"MINIO_ROOT_USER": OWNER, "MINIO_ROOT_PASSWORD": settings.secret_key, "HOME": str(folder.root)}
    with folder.log("minio").open("wb") as log:
        process = subprocess.Popen(tied_to_this_process(command, None), env=env, stdout=log, stderr=log)
        try:
            wait_until(lambda: _lives(settings), READY_S, f"no store: see {folder.log('minio')}")
            yield settings
        finally:
            end(process)


def let(owner: StoreSettings, folder: DataFolder, users: Mapping[str, Sequence[Statement]]) -> None:
    """Make users, each of whom may do what its statements say; without any, nothing."""
    pool = urllib3.PoolManager(cert_reqs="CERT_REQUIRED", ca_certs=owner.tls_ca)
    endpoint, keys = owner.endpoint.removeprefix("https://"), StaticProvider(owner.access_key, owner.secret_key)
    admin = MinioAdmin(endpoint=endpoint, credentials=keys, http_client=pool)
    for user, statements in users.items():
        admin.user_add(user, secret_key(folder, user))
        if not statements:
            continue
        admin.policy_add(user, policy={"Version": "2012-10-17", "Statement": [*map(_statement, statements)]})
        admin.policy_set(user, user=user)
    pool.clear()


def _statement(statement: Statement) -> dict[str, object]:
    actions, places = statement
    return {"Effect": "Allow", "Action": [*actions], "Resource": [f"arn:aws:s3:::{place}" for place in places]}


def _lives(settings: StoreSettings) -> bool:
    tls = ssl.create_default_context(cafile=settings.tls_ca)
    try:
        return httpx.get(f"{settings.endpoint}/minio/health/live", verify=tls).is_success
    except httpx.TransportError:
        return False
