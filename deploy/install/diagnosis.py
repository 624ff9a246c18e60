"""Diagnose a failed tool of the installation in one line. Standard library only."""

from __future__ import annotations

import re

# What tools print when they fail: a pattern, what is wrong, what to do. The first pattern that matches counts.
_DIAGNOSES = (
    (
        r"hash mismatch|do not match the hashes|checksum mismatch|sha256 mismatch|security error",
        "a download is not the file that the lock names",
        "try again; if it happens again, something between here and the server alters downloads",
    ),
    (r"no space left|disk quota exceeded", "the disk is full", "make room and run it again"),
    (r"ensurepip is not available", "Python cannot make environments", "install its venv package"),
    (
        r"certificate verify failed|unknownissuer|unknown authority|self.signed certificate",
        "the certificate of a download server is not trusted",
        "set SSL_CERT_FILE to the certificates of the proxy that you are behind",
    ),
    (
        (
            r"name or service not known|name resolution|no such host|dns error|failed to lookup|resolve host"
            r"|network is unreachable|no route to host|connection refused|connection reset|\btimed out\b|\btimeout\b"
            r"|error sending request|max retries exceeded|could not find a version that satisfies|tunnel connection failed"
        ),
        "no network, or a download server is not reachable",
        "check the connection (and HTTPS_PROXY) and run it again; finished parts stay",
    ),
)
_LINE_LENGTH = 200


def diagnose(output: str) -> str:
    """Return what is wrong and what to do, in one line; for an unknown failure, the tool's own error line."""
    for pattern, problem, remedy in _DIAGNOSES:
        if re.search(pattern, output, re.IGNORECASE):
            return f"{problem}: {remedy}"
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\berror\b", line, re.IGNORECASE)]
    return (errors or lines[-1:] or ["it failed without a message"])[0][:_LINE_LENGTH]
