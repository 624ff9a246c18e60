"""Made-up patients whose every word is found nowhere else, what is wrong with what names them, and where they must not be.

A canary may stand in the objects' bytes, in the values of restricted topics, in the catalog, in the state of the jobs
that fill it, and in what the read API answers to who may read: nowhere else.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tests.support.data.generate import Instance, Volume, instances, token

SEED = 8_000
SLICES = 3
VOLUME = Volume(slices=SLICES, size=32, seed=SEED)
TOKEN = token(SEED, 0)
# As long as an AE title may be (PS3.5 6.2).
AE_TITLE = TOKEN[:16]
BIRTH_DATE, STUDY_DATE = "18870613", "18990231"
# What the generator writes in these places, of the same length.
DATES = {b"19480229": BIRTH_DATE.encode(), b"20260317": STUDY_DATE.encode()}

# Folders of a stack's data that hold what is allowed, and nothing that is read for anything else.
ALLOWED = ("minio", "kafka", "postgres", "checkpoints", "flink")


def slices() -> list[Instance]:
    """Make the canary's study."""
    return list(instances(VOLUME))


def whole(instance: Instance) -> bytes:
    """Return a slice's file, the canary's dates in it."""
    data = instance.meta + instance.header + instance.pixels
    for before, after in DATES.items():
        data = data.replace(before, after)
    return data


def malformed() -> dict[str, bytes]:
    """Return files of the canary's that no archive can show, by what is wrong with each."""
    good = whole(slices()[0])
    uid = slices()[0].sop_uid.encode()
    return {
        "a UID that is a name": good.replace(uid, TOKEN.encode().ljust(len(uid), b"\0")),
        "no preamble": good[132:],
        "a header cut short": good[: good.index(b"CT ABDOMEN")],
        "a name for a transfer syntax": good.replace(b"1.2.840.10008.1.2.1\0", TOKEN.encode().ljust(20, b"\0"), 1),
        "a name alone": b"\0" * 128 + b"DICM" + TOKEN.encode(),
    }


def other_pixels(instance: Instance) -> bytes:
    """Return another content of a slice: a conflict."""
    data = whole(instance)
    return data[:-4] + bytes(one ^ 0xFF for one in data[-4:])


def other_patient(instance: Instance) -> bytes:
    """Return a slice under another patient's ID: a conflict of the worse kind."""
    return whole(instance).replace(b"ID" + TOKEN.encode(), b"IX" + TOKEN.encode())


# --- requests that are wrong, each with the canary where a client may put one ---


@dataclass(frozen=True)
class Ask:
    """One HTTP request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


PARTS = 'multipart/related; type="application/dicom"; boundary=X'


def asks(instance: Instance) -> Iterator[Ask]:
    """Return requests, most of them wrong."""
    study, series = (f"/dicomweb/studies/{instance.study_uid}", f"/series/{instance.series_uid}")
    one = f"{study}{series}/instances/{instance.sop_uid}"
    for level in ("studies", "series", "instances"):
        yield Ask("GET", f"/dicomweb/{level}?PatientName={TOKEN}*", {})
        yield Ask("GET", f"/dicomweb/{level}?PatientID=ID{TOKEN}&{TOKEN}=1&fuzzymatching={TOKEN}&limit={TOKEN}", {})
    yield Ask("GET", f"/dicomweb/studies?StudyInstanceUID={TOKEN}&includefield={TOKEN}", {})
    yield Ask("GET", f"/dicomweb/studies?PatientBirthDate={TOKEN}&StudyDate={BIRTH_DATE}-x", {})
    for path in (f"/{TOKEN}", f"/dicomweb/{TOKEN}", f"/dicomweb/studies/{TOKEN}", f"{study}/series/{TOKEN}/metadata"):
        for method in ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
            yield Ask(method, path, {"Content-Type": PARTS})
    for what in ("", "/metadata", "/frames/1", f"/frames/{TOKEN}", f"/bulkdata/{TOKEN}", "/rendered", "/thumbnail"):
        yield Ask("GET", one + what, {})
        yield Ask("GET", f"{one}{what}?accept={TOKEN}&window={TOKEN}&viewport={TOKEN}&quality={TOKEN}", {})
        for name in ("Accept", "Range", "If-None-Match", "Host", "Origin", "X-Forwarded-For", "Authorization"):
            yield Ask("GET", one + what, {name: TOKEN})
    yield from stores(whole(instance))


def stores(good: bytes) -> Iterator[Ask]:
    """Return store requests, most of them wrong."""
    head = b"--X\r\nContent-Type: application/dicom\r\n"
    part = head + b"\r\n" + good + b"\r\n--X--"
    address = "/dicomweb/studies"
    for kind in (TOKEN, f"multipart/related; type={TOKEN}; boundary=X", f"{PARTS[:-1]}{TOKEN}", f"{PARTS}; x={TOKEN}"):
        yield Ask("POST", address, {"Content-Type": kind}, part)
    for name in ("Content-Encoding", "Accept", "Host", "Origin", "X-Forwarded-For"):
        yield Ask("POST", address, {"Content-Type": PARTS, name: TOKEN}, part)
    for line in (
        f"Content-Location: {TOKEN}",
        f"Content-Type: {TOKEN}",
        f"{TOKEN}: 1",
        TOKEN,
        f"Content-Length: {TOKEN}",
    ):
        yield Ask("POST", address, {"Content-Type": PARTS}, head + line.encode() + b"\r\n\r\n" + good + b"\r\n--X--")
    yield Ask("POST", address, {"Content-Type": PARTS}, TOKEN.encode() * 1000)
    yield Ask("POST", address, {"Content-Type": PARTS}, part[:-5])
    yield Ask("POST", f"{address}/1.2.3.4", {"Content-Type": PARTS}, part)
    yield Ask("POST", f"{address}/{TOKEN}", {"Content-Type": PARTS}, part)
    for wrong in malformed().values():
        yield Ask("POST", address, {"Content-Type": PARTS}, head + b"\r\n" + wrong + b"\r\n--X--")
        yield Ask("POST", address, {"Content-Type": "application/dicom"}, wrong)


# --- where a canary was seen ---

# A date counts where it stands alone: among the digits of a UID or a hash it is none.
ALONE = rb"(?<![0-9a-fA-F.])%s(?![0-9a-fA-F.])"


def spellings(word: str) -> tuple[bytes, ...]:
    """Return the ways in which a word may be written down, in lower case."""
    percent = "".join(f"%{byte:02x}" for byte in word.encode())
    return tuple({one.lower().encode() for one in (word, quote(word), percent, word.encode().hex(), word[::-1])})


WORDS = tuple(one for word in (TOKEN, AE_TITLE) for one in spellings(word))
PATTERN = re.compile(b"|".join([*map(re.escape, WORDS), *(ALONE % date.encode() for date in (BIRTH_DATE, STUDY_DATE))]))


def seen(data: bytes) -> bool:
    """True if a canary stands in these bytes, in any case, percent-encoded or turned round."""
    return PATTERN.search(data.lower()) is not None


def files_with_canaries(root: Path) -> list[str]:
    """Return the files below a folder whose names or bytes hold a canary; where it is allowed, names alone are looked at."""
    found = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        is_read = path.is_file() and name.parts[0] not in ALLOWED
        if seen(str(name).encode()) or (is_read and seen(path.read_bytes())):
            found.append(str(name))
    return found
