"""What a client accepts: media ranges with their weights, and content codings (RFC 9110 12.5, PS3.18 8.7)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs

from operators.http.media_types import MULTIPART

# Commas and semicolons inside a quoted string separate nothing; a backslash escapes the next character there.
TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z/-]+"  # noqa: S105 - RFC 9110's word
QUOTED = r'"(?:[^"\\]|\\.)*"'
RANGE = re.compile(rf"\s*({TOKEN})((?:\s*;\s*{TOKEN}\s*=\s*(?:{TOKEN}|{QUOTED}))*)\s*(?:,|$)")
PARAMETER = re.compile(rf";\s*({TOKEN})\s*=\s*({TOKEN}|{QUOTED})")
WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
# No client needs more media ranges; the rest of the header is ignored.
MOST_RANGES = 100
GZIP = "gzip"
# The names of gzip in Accept-Encoding, the first of them in the header counts (RFC 9110 8.4.1.3).
GZIP_NAMES = (GZIP, "x-gzip", "*")


@dataclass(frozen=True)
class MediaRange:
    """One media range of an Accept header.

    `media_type` is the range's own type; of a multipart range it is the type of the parts. `transfer_syntax` is None
    when the range names none. `refused` holds the types to which the same header gives the weight 0: a wildcard does
    not include them.
    """

    media_type: str
    is_multipart: bool
    transfer_syntax: str | None
    weight: float
    refused: frozenset[str] = frozenset()

    def takes(self, media_type: str) -> bool:
        """True if this range includes a media type."""
        kind = f"{media_type.partition('/')[0]}/*"
        is_refused = not self.refused.isdisjoint({media_type, kind})
        return self.media_type == media_type or (self.media_type in ("*/*", kind) and not is_refused)


def accepted(scope: Mapping[str, Any]) -> tuple[MediaRange, ...]:
    """Return the media ranges of an ASGI request, in order of weight, the highest first.

    The query parameter `accept` overrides the header (PS3.18 8.3.3.1). A request with neither accepts anything.
    """
    # No media type has a space, and many clients forget to escape the plus of dicom+json.
    query = scope.get("query_string", b"").decode("latin-1").replace("+", "%2B")
    parameters = parse_qs(query).get("accept", ())
    headers = (value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"accept")
    return parse_accept(",".join(parameters) or ",".join(headers) or "*/*")


def parse_accept(text: str) -> tuple[MediaRange, ...]:
    """Return the media ranges of a header, the highest weight first, without ranges of weight 0.

    Parsing stops at the first malformed range.
    """
    found, position = list[MediaRange](), 0
    while position < len(text) and len(found) < MOST_RANGES and (match := RANGE.match(text, position)):
        parameters = {name.lower(): unquoted(value) for name, value in PARAMETER.findall(match[2])}
        found.append(_media_range(match[1].lower(), parameters))
        position = match.end()
    refused = frozenset(each.media_type for each in found if each.weight == 0 and not each.is_multipart)
    wanted = [replace(each, refused=refused) for each in found if each.weight > 0]
    return tuple(sorted(wanted, key=lambda each: -each.weight))


def choose(ranges: Sequence[MediaRange], offered: Sequence[str]) -> str | None:
    """Return the media type for an answer without parts, or None when no range includes an offered type.

    It is the first offered type that the best matching range includes.
    """
    whole = (each for each in ranges if not each.is_multipart)
    return next((media_type for each in whole for media_type in offered if each.takes(media_type)), None)


def choose_coding(scope: Mapping[str, Any]) -> str | None:
    """Return gzip, '' for no coding, or None when an ASGI request accepts neither.

    A client that sends no Accept-Encoding may be unable to decode. Where it gives weights, the higher one decides;
    otherwise an accepted gzip.
    """
    headers = (value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"accept-encoding")
    weights = _coding_weights(",".join(headers))
    zipped = next((weights[name] for name in GZIP_NAMES if name in weights), 0.0)
    plain = weights.get("identity", 0.0 if weights.get("*") == 0 else 1.0)
    if zipped and (zipped >= plain or "identity" not in weights):
        return GZIP
    return "" if plain else None


def _coding_weights(text: str) -> dict[str, float]:
    """Return the weight of each coding of a header; parsing stops at the first malformed one."""
    weights: dict[str, float] = {}
    position = 0
    while position < len(text) and len(weights) < MOST_RANGES and (match := RANGE.match(text, position)):
        parameters = {name.lower(): unquoted(value) for name, value in PARAMETER.findall(match[2])}
        weights.setdefault(match[1].lower(), _weight(parameters))
        position = match.end()
    return weights


def _weight(parameters: Mapping[str, str]) -> float:
    weight = parameters.get("q", "1")
    return float(weight) if WEIGHT.fullmatch(weight) else 0.0


def _media_range(media_type: str, parameters: Mapping[str, str]) -> MediaRange:
    is_multipart = media_type.startswith("multipart/")
    inner = parameters.get("type", "*/*").lower() if is_multipart else media_type
    return MediaRange(
        inner if media_type in (MULTIPART, "multipart/*") or not is_multipart else media_type,
        is_multipart,
        parameters.get("transfer-syntax"),
        _weight(parameters),
    )


def unquoted(value: str) -> str:
    """Return the text of a parameter's value, without quotes and escapes if it is a quoted string (RFC 9110 5.6.4)."""
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
