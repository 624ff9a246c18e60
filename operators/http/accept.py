"""What a client accepts, parsed: media ranges with their parameters and weights (RFC 9110 12.5.1, PS3.18 8.7)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs

# Splits at a separator outside quotes; a quoted string may escape with a backslash.
TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z/-]+"  # noqa: S105 - RFC 9110's word
QUOTED = r'"(?:[^"\\]|\\.)*"'
RANGE = re.compile(rf"\s*({TOKEN})((?:\s*;\s*{TOKEN}\s*=\s*(?:{TOKEN}|{QUOTED}))*)\s*(?:,|$)")
PARAMETER = re.compile(rf";\s*({TOKEN})\s*=\s*({TOKEN}|{QUOTED})")
WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
MULTIPART = "multipart/related"
DICOM = "application/dicom"
JSON_TYPES = ("application/dicom+json", "application/json")
# No client has so much to say; what comes then is not read.
MOST_RANGES = 100


@dataclass(frozen=True)
class Wanted:
    """One media range: for multipart the type of its parts, else its own; None as transfer syntax says nothing."""

    media_type: str
    is_multipart: bool
    transfer_syntax: str | None
    weight: float
    # What other ranges of the same header refuse by a weight of 0; it binds the wildcards.
    refused: frozenset[str] = frozenset()

    def takes(self, media_type: str) -> bool:
        """True if a media type lies in this range."""
        kind = f"{media_type.partition('/')[0]}/*"
        is_refused = not self.refused.isdisjoint({media_type, kind})
        return self.media_type == media_type or (self.media_type in ("*/*", kind) and not is_refused)


def wanted(scope: Mapping[str, Any]) -> tuple[Wanted, ...]:
    """Return what an ASGI request accepts, best first; the query parameter goes before the header (PS3.18 8.3.3.1)."""
    # No media type has a space, many clients forget to escape the plus of dicom+json.
    query = scope.get("query_string", b"").decode("latin-1").replace("+", "%2B")
    asked = parse_qs(query).get("accept", ())
    headers = (value.decode("latin-1") for name, value in scope["headers"] if name.lower() == b"accept")
    return parse_accept(",".join(asked) or ",".join(headers) or "*/*")


def parse_accept(text: str) -> tuple[Wanted, ...]:
    """Read a list of media ranges, best first, without those of weight 0; none from where it is malformed."""
    found, position = list[Wanted](), 0
    while position < len(text) and len(found) < MOST_RANGES and (match := RANGE.match(text, position)):
        parameters = {name.lower(): unquoted(value) for name, value in PARAMETER.findall(match[2])}
        found.append(_wanted(match[1].lower(), parameters))
        position = match.end()
    refused = frozenset(one.media_type for one in found if one.weight == 0 and not one.is_multipart)
    accepted = [replace(one, refused=refused) for one in found if one.weight > 0]
    return tuple(sorted(accepted, key=lambda one: -one.weight))


def chosen(ranges: Sequence[Wanted], offered: Sequence[str]) -> str | None:
    """Return the media type to answer with, not in parts: the first of these that the best range takes; None for none."""
    return next((each for one in ranges if not one.is_multipart for each in offered if one.takes(each)), None)


def _wanted(media_type: str, parameters: Mapping[str, str]) -> Wanted:
    is_multipart = media_type.startswith("multipart/")
    inner = parameters.get("type", "*/*").lower() if is_multipart else media_type
    weight = parameters.get("q", "1")
    return Wanted(
        inner if media_type in (MULTIPART, "multipart/*") or not is_multipart else media_type,
        is_multipart,
        parameters.get("transfer-syntax"),
        float(weight) if WEIGHT.fullmatch(weight) else 0.0,
    )


def unquoted(value: str) -> str:
    """Return what a parameter's value says, a token or a quoted string (RFC 9110 5.6.4)."""
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
