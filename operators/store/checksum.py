"""The checksum that a store compares with the bytes that it has taken."""

import base64

import google_crc32c


def crc32c_of(data: bytes) -> str:
    """Return the CRC32C of these bytes as S3 writes it."""
    return written(int(google_crc32c.value(data)))


def written(crc32c: int) -> str:
    """Return a CRC32C as S3 writes it: big-endian, base64."""
    return base64.b64encode(crc32c.to_bytes(4, "big")).decode()
