"""The web doors: the read API, the processes that decode and render for it, STOW-RS."""

import re
from dataclasses import dataclass

from schemas.settings.intake import TENANT
from schemas.settings.reading import PORT, Rule, is_loopback, setting

# No credentials, and no query that /jobs/overview would be added to.
_URL = re.compile(r"(https?://[^/?#@\s]+(/[^?#@\s]*)?)?")
URL = Rule(lambda url: _URL.fullmatch(url) is not None, "such as http://127.0.0.1:8081")
# Until the web origin can tell who asks, only this machine may: it has neither TLS nor access control.
ONLY_LOOPBACK = Rule(
    is_loopback, "a loopback address, such as 127.0.0.1 or ::1: the web origin has no TLS and no access control yet"
)


@dataclass(frozen=True)
class ApiSettings:
    """The read API: QIDO-RS, WADO-RS and the web viewer's own requests."""

    section = "API"
    host: str = setting("127.0.0.1", rule=ONLY_LOOPBACK)
    port: int = setting(8060, **PORT)
    tenant: str = setting("local", rule=TENANT)
    # Results of one query: without `limit`, and at most.
    default_limit: int = setting(100, least=1)
    most_limit: int = setting(1000, least=1)
    workers: int = setting(1, least=1, most=64)
    # Headers that one request for metadata reads at a time.
    headers_at_once: int = setting(8, least=1, most=256)
    # Deflated instances held in memory, inflated (64 MiB each at most), until their response is sent.
    inflated_at_once: int = setting(2, least=1, most=64)
    # How long a client may go without reading any of a response.
    no_progress_s: float = setting(30.0, least=0.1)
    # How long reading one header may take, and how much header JSON is cached.
    header_s: float = setting(5.0, least=0.01)
    header_cache_bytes: int = setting(64 * 2**20, least=0)
    # Byte ranges of one request.
    ranges: int = setting(10, least=1)
    thumbnail_px: int = setting(128, least=1, most=4096)
    # The REST API of the Flink cluster, whose jobs /readyz tells of without depending on them; empty: it tells nothing.
    jobs_url: str = setting("", rule=URL)
    # The address of this origin in answers, such as https://pacs.example.org; empty: the one that the client used.
    public_url: str = setting("", rule=URL)


@dataclass(frozen=True)
class RenderSettings:
    """The processes that decode and render images, and what one of them may use for one image."""

    section = "RENDER"
    processes: int = setting(2, least=1, most=256)
    # Requests that may wait for a process.
    queue: int = setting(64, least=1)
    memory_bytes: int = setting(768 * 2**20, least=256 * 2**20)
    cpu_s: int = setting(10, least=1)
    wall_s: float = setting(30.0, least=0.1)
    # The largest frame, as stored and decoded; an object that must be read whole may have twice as many bytes.
    frame_bytes: int = setting(64 * 2**20, least=1)


@dataclass(frozen=True)
class StowSettings:
    """The STOW-RS door: what one process takes at once, and what one request may hold."""

    section = "STOW"
    requests: int = setting(16, least=1, most=1000)
    # Instances of one request that are being stored while the next one is received.
    at_once: int = setting(3, least=1, most=64)
    request_bytes: int = setting(8 * 2**30, least=1)
    parts: int = setting(10_000, least=1)
    part_headers: int = setting(32, least=1)
    part_header_bytes: int = setting(8192, least=64)
    # Bytes before the first boundary, and after the last.
    outside_bytes: int = setting(1024, least=0)
    # How long a request may send nothing, and how slow it may be after that time.
    silence_s: float = setting(10.0, least=0.1)
    slowest_bytes_per_s: float = setting(1000.0, least=0)
    # When all places are taken, the slowest request is dropped, if it has been waited for `yield_s` and is
    # slower than `yield_bytes_per_s`.
    yield_s: float = setting(5.0, least=0.1)
    yield_bytes_per_s: float = setting(100_000.0, least=0)
