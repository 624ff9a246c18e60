"""MinIO, the object store, and the buckets in it."""

from deploy.local.servers import health
from deploy.local.stack import Stack
from deploy.local.supervision.programs import Program, ServerProgram, SetupProgram


def programs(stack: Stack) -> tuple[Program, ...]:
    """Return the programs that run the store and create the buckets."""
    return (server(stack), create_buckets(stack))


def server(stack: Stack) -> ServerProgram:
    """Return the store.

    Without `--no-compat` MinIO hashes each object by MD5 for its ETag. CRC32C, which it checks, guards the bytes (DECISIONS 63).
    """
    folder, port = stack.folder.root / "minio", stack.ports["minio"]
    address = ("--address", f"127.0.0.1:{port}")
    return ServerProgram(
        name="minio",
        command=(stack.layout.minio, "server", "--no-compat", *address, "--certs-dir", folder / ".certs", folder),
        env=stack.env() | minio_environment(stack),
        check_health=health.answers_ok(port, "/minio/health/live"),
    )


def minio_environment(stack: Stack) -> dict[str, str]:
    """Return MinIO's own variables: its administrator, metrics without a token, and no web page, update check or call home."""
    return {
        "MINIO_ROOT_USER": stack.store.access_key,
        "MINIO_ROOT_PASSWORD": stack.store.secret_key,
        "MINIO_PROMETHEUS_AUTH_TYPE": "public",
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        "MINIO_CALLHOME_ENABLE": "off",
    }


def create_buckets(stack: Stack) -> SetupProgram:
    """Return the program that creates the buckets."""
    return SetupProgram(
        name="buckets",
        command=stack.python("-m", "deploy.prepare", "buckets"),
        needs=("minio",),
        env=stack.env(stack.store, stack.quarantine),
    )
