"""Keys and certificates for tests of TLS, made by the openssl command."""

import shutil
import subprocess
from pathlib import Path

import pytest

EC = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
RSA = ("rsa:2048",)


def openssl(*arguments: str) -> None:
    command = shutil.which("openssl") or pytest.skip("openssl is not installed")
    subprocess.run([command, *arguments], check=True, capture_output=True, timeout=60)


def issue(
    folder: Path, name: str, authority: str, subject: str | None = None, kind: tuple[str, ...] = EC
) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 and its key, signed by an authority that was made before, or by itself.

    The subject is /CN= and the name unless another one is given.
    """
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    signed = [] if name == authority else ["-CA", f"{folder / authority}.pem", "-CAkey", f"{folder / authority}.key"]
    is_authority = "TRUE" if name == authority else "FALSE"
    openssl(
        *("req", "-x509", "-newkey", *kind, "-nodes", "-days", "2"),
        *("-subj", f"/CN={name}" if subject is None else subject),
        *("-addext", "subjectAltName=IP:127.0.0.1"),
        *("-addext", f"basicConstraints=critical,CA:{is_authority}"),
        *("-keyout", str(key), "-out", str(certificate), *signed),
    )
    return certificate, key
