"""What the client accepts, parsed: media ranges with their parameters and weights (RFC 9110 12.5.1, PS3.18 8.7)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request

# Splits at a separator outside quotes; a quoted string may escape with a backslash.
TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z/-]+"  # noqa: S105 - RFC 9110's word
QUOTED = r'"(?:[^"\\]|\\.)*"'
RANGE = re.compile(rf"\s*({TOKEN})((?:\s*;\s*{TOKEN}\s*=\s*(?:{TOKEN}|{QUOTED}))*)\s*(?:,|$)")
PARAMETER = re.compile(rf";\s*({TOKEN})\s*=\s*({TOKEN}|{QUOTED})")
WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
MULTIPART = "multipart/related"
DICOM = "application/dicom"
JSON_TYPES = ("application/dicom+json", "application/json")


@dataclass(frozen=True)
class Wanted:
    """One media range: for multipart the type of its parts, else its own; None as transfer syntax says nothing."""

    media_type: str
    is_multipart: bool
    transfer_syntax: str | None
    weight: float

    def takes(self, media_type: str) -> bool:
        """Say whether a media type lies in this range."""
        kind = media_type.partition("/")[0]
        return self.media_type in ("*/*", f"{kind}/*", media_type)


def wanted(request: Request) -> tuple[Wanted, ...]:
    """Give what the client accepts, best first; the query parameter goes before the header (PS3.18 8.3.3.1)."""
    text = request.query_params.get("accept") or ",".join(request.headers.getlist("accept")) or "*/*"
    return parse_accept(text)


def parse_accept(text: str) -> tuple[Wanted, ...]:
    """Read a list of media ranges, best first, without those of weight 0; none from where it is malformed."""
    found, position = [], 0
    while position < len(text) and (match := RANGE.match(text, position)):
        parameters = {name.lower(): _unquoted(value) for name, value in PARAMETER.findall(match[2])}
        found.append(_wanted(match[1].lower(), parameters))
        position = match.end()
    return tuple(sorted((one for one in found if one.weight > 0), key=lambda one: -one.weight))


def accepts_json(ranges: tuple[Wanted, ...]) -> str | None:
    """Give the JSON media type to answer with; None when none is accepted."""
    for one in ranges:
        if not one.is_multipart:
            for offered in JSON_TYPES:
                if one.takes(offered):
                    return offered
    return None


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


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
