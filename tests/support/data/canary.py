"""Canaries: made-up patients whose words occur nowhere else, malformed files and requests that name them, and a search.

A canary may occur in the bytes of objects, in the values of restricted topics, in the catalog, in the state of the jobs
that fill the catalog, and in the answers of the read API to clients that may read: nowhere else.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import orjson

from tests.support.data.generate import CANARY, Instance, Volume, instances, token

SEED = 8_000
SLICES = 3
VOLUME = Volume(slices=SLICES, size=32, seed=SEED)
TOKEN = token(SEED, 0)
# As long as an AE title may be (PS3.5 6.2).
AE_TITLE = TOKEN[:16]
BIRTH_DATE, STUDY_DATE = "18870613", "18990231"
# What the generator writes, and what replaces it: dates, and a body part that is a name.
REPLACED = {
    b"19480229": BIRTH_DATE.encode(),
    b"20260317": STUDY_DATE.encode(),
    b"CS\x08\0ABDOMEN ": b"CS\x08\0" + CANARY.encode(),
}

# The folders of a stack's data in which canaries may be.
ALLOWED = ("minio", "kafka", "postgres", "checkpoints", "flink")


def slices() -> list[Instance]:
    """Return the instances of the canary's study."""
    return list(instances(VOLUME))


def file_of(instance: Instance) -> bytes:
    """Return a slice's file with the canary's dates and body part."""
    data = instance.meta + instance.header + instance.pixels
    for before, after in REPLACED.items():
        data = data.replace(before, after)
    return data


def malformed() -> dict[str, bytes]:
    """Return files of the canary that no archive can show, by what is wrong with each."""
    good = file_of(slices()[0])
    uid = slices()[0].sop_uid.encode()
    return {
        "a UID that is a name": good.replace(uid, TOKEN.encode().ljust(len(uid), b"\0")),
        "no preamble": good[132:],
        "a header cut short": good[: good.index(b"CT ABDOMEN")],
        "a name for a transfer syntax": good.replace(b"1.2.840.10008.1.2.1\0", TOKEN.encode().ljust(20, b"\0"), 1),
        "a name alone": b"\0" * 128 + b"DICM" + TOKEN.encode(),
    }


def other_pixels(instance: Instance) -> bytes:
    """Return a slice's file with other pixels: a conflict."""
    data = file_of(instance)
    return data[:-4] + bytes(one ^ 0xFF for one in data[-4:])


def other_patient(instance: Instance) -> bytes:
    """Return a slice's file with another patient's ID: a conflict of the kind patient."""
    return file_of(instance).replace(b"ID" + TOKEN.encode(), b"IX" + TOKEN.encode())


# --- malformed requests, each with the canary where a client may put one ---


@dataclass(frozen=True)
class HttpRequest:
    """One HTTP request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


PARTS = 'multipart/related; type="application/dicom"; boundary=X'


def requests(instance: Instance) -> Iterator[HttpRequest]:
    """Yield requests, most of them malformed."""
    study, series = (f"/dicomweb/studies/{instance.study_uid}", f"/series/{instance.series_uid}")
    one = f"{study}{series}/instances/{instance.sop_uid}"
    for level in ("studies", "series", "instances"):
        yield HttpRequest("GET", f"/dicomweb/{level}?PatientName={TOKEN}*", {})
        yield HttpRequest(
            "GET", f"/dicomweb/{level}?PatientID=ID{TOKEN}&{TOKEN}=1&fuzzymatching={TOKEN}&limit={TOKEN}", {}
        )
    yield HttpRequest("GET", f"/dicomweb/studies?StudyInstanceUID={TOKEN}&includefield={TOKEN}", {})
    yield HttpRequest("GET", f"/dicomweb/studies?PatientBirthDate={TOKEN}&StudyDate={BIRTH_DATE}-x", {})
    for path in (f"/{TOKEN}", f"/dicomweb/{TOKEN}", f"/dicomweb/studies/{TOKEN}", f"{study}/series/{TOKEN}/metadata"):
        for method in ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
            yield HttpRequest(method, path, {"Content-Type": PARTS})
    for what in ("", "/metadata", "/frames/1", f"/frames/{TOKEN}", f"/bulkdata/{TOKEN}", "/rendered", "/thumbnail"):
        yield HttpRequest("GET", one + what, {})
        yield HttpRequest("GET", f"{one}{what}?accept={TOKEN}&window={TOKEN}&viewport={TOKEN}&quality={TOKEN}", {})
        for name in ("Accept", "Range", "If-None-Match", "Host", "Origin", "X-Forwarded-For", "Authorization"):
            yield HttpRequest("GET", one + what, {name: TOKEN})
    yield from store_requests(file_of(instance))
    yield from command_requests(instance)


def command_requests(instance: Instance) -> Iterator[HttpRequest]:
    """Yield commands, most of them malformed; those that are carried out change nothing that is shown."""
    address, said = f"/v1/studies/{instance.study_uid}/commands", {"action": "hold", "why": TOKEN}
    for name in ("id", "action", "who", "count", "instance", "content", TOKEN):
        yield _command(address, said | {name: TOKEN})
    yield _command(address, said)
    yield _command(address, said | {"why": f"{TOKEN}\n{TOKEN}"})
    yield _command(address, said | {"action": "choose", "instance": instance.sop_uid, "content": "0" * 64})
    yield _command(f"/v1/studies/{TOKEN}/commands", said)
    yield HttpRequest("POST", address, {"Content-Type": "application/json"}, TOKEN.encode())
    for name in ("Content-Type", "Content-Encoding", "Host", "Origin", "X-Forwarded-For"):
        yield HttpRequest("POST", address, {"Content-Type": "application/json"} | {name: TOKEN}, b"{}")


def _command(path: str, said: Mapping[str, str]) -> HttpRequest:
    return HttpRequest("POST", path, {"Content-Type": "application/json"}, orjson.dumps(said))


def store_requests(good: bytes) -> Iterator[HttpRequest]:
    """Yield store requests, most of them malformed."""
    head = b"--X\r\nContent-Type: application/dicom\r\n"
    part = head + b"\r\n" + good + b"\r\n--X--"
    address = "/dicomweb/studies"
    for kind in (TOKEN, f"multipart/related; type={TOKEN}; boundary=X", f"{PARTS[:-1]}{TOKEN}", f"{PARTS}; x={TOKEN}"):
        yield HttpRequest("POST", address, {"Content-Type": kind}, part)
    for name in ("Content-Encoding", "Accept", "Host", "Origin", "X-Forwarded-For"):
        yield HttpRequest("POST", address, {"Content-Type": PARTS, name: TOKEN}, part)
    for line in (
        f"Content-Location: {TOKEN}",
        f"Content-Type: {TOKEN}",
        f"{TOKEN}: 1",
        TOKEN,
        f"Content-Length: {TOKEN}",
    ):
        yield HttpRequest(
            "POST", address, {"Content-Type": PARTS}, head + line.encode() + b"\r\n\r\n" + good + b"\r\n--X--"
        )
    yield HttpRequest("POST", address, {"Content-Type": PARTS}, TOKEN.encode() * 1000)
    yield HttpRequest("POST", address, {"Content-Type": PARTS}, part[:-5])
    yield HttpRequest("POST", f"{address}/1.2.3.4", {"Content-Type": PARTS}, part)
    yield HttpRequest("POST", f"{address}/{TOKEN}", {"Content-Type": PARTS}, part)
    for wrong in malformed().values():
        yield HttpRequest("POST", address, {"Content-Type": PARTS}, head + b"\r\n" + wrong + b"\r\n--X--")
        yield HttpRequest("POST", address, {"Content-Type": "application/dicom"}, wrong)


# --- the search for canaries ---

# A date counts only where it stands alone, not among the digits of a UID or a hash.
ALONE = rb"(?<![0-9a-fA-F.])%s(?![0-9a-fA-F.])"


def spellings(word: str) -> tuple[bytes, ...]:
    """Return the ways in which a word may be written, in lower case."""
    percent = "".join(f"%{byte:02x}" for byte in word.encode())
    plain = (word, quote(word), percent, word.encode().hex(), word[::-1])
    return tuple({one.lower().encode() for one in (*plain, *in_base64(word.encode()))})


def in_base64(word: bytes) -> Iterator[str]:
    """Yield what base64 has of a word, whatever stands before and behind it."""
    for before in range(3):
        whole = base64.b64encode(bytes(before) + word).decode()
        yield whole[-(-before * 8 // 6) : (before + len(word)) * 8 // 6]


WORDS = tuple(one for word in (TOKEN, AE_TITLE) for one in spellings(word))
PATTERN = re.compile(b"|".join([*map(re.escape, WORDS), *(ALONE % date.encode() for date in (BIRTH_DATE, STUDY_DATE))]))


def has_canary(data: bytes) -> bool:
    """True if a canary is in these bytes: in upper or lower case, percent-encoded, in hex, in base64 or reversed."""
    return PATTERN.search(data.lower()) is not None


def files_with_canaries(root: Path) -> list[str]:
    """Return the files below a folder with a canary in their name or, outside the allowed folders, in their bytes."""
    found = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        is_read = path.is_file() and name.parts[0] not in ALLOWED
        if has_canary(str(name).encode()) or (is_read and has_canary(path.read_bytes())):
            found.append(str(name))
    return found
