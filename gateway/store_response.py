"""What a STOW-RS client reads: the Store Instances Response Module (PS3.18 I.1), as JSON or as XML."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import orjson

from gateway.delivery import Outcome
from gateway.multipart import MediaType
from gateway.status import OUT_OF_RESOURCES, STORED, Status
from operators.errors import Rejected

JSON = "application/dicom+json"
XML = "application/dicom+xml"
# Which of the two each media range means; the first is for those who leave it to us.
OFFERED = {
    "*/*": JSON,
    "application/*": JSON,
    JSON: JSON,
    "application/json": JSON,
    XML: XML,
    "application/xml": XML,
    "text/xml": XML,
}
RANGE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"

RETRIEVE_URL = "00081190"
FAILURE_REASON = "00081197"
WARNING_REASON = "00081196"
KEYWORDS = {
    "00081150": "ReferencedSOPClassUID",
    "00081155": "ReferencedSOPInstanceUID",
    RETRIEVE_URL: "RetrieveURL",
    WARNING_REASON: "WarningReason",
    FAILURE_REASON: "FailureReason",
    "00081198": "FailedSOPSequence",
    "00081199": "ReferencedSOPSequence",
    "0008119A": "OtherFailuresSequence",
}
# DICOM JSON (PS3.18 F.2.2): tag to VR and values.
Json = dict[str, dict[str, Any]]


def http_status(outcomes: Sequence[Outcome]) -> int:
    """Give the status of a request with at least one part: PS3.18 table 10.5.3-1, and 503 for what may be tried again."""
    if any(one.is_stored for one in outcomes):
        return 200 if all(one.status is STORED for one in outcomes) else 202
    return 503 if all(one.status is OUT_OF_RESOURCES for one in outcomes) else 409


def chosen(accept: str) -> str | None:
    """Give the media type to answer in: that of the greatest weight, the first of these; None when none will do."""
    weighed = [one for one in map(_weighed, RANGE.findall(accept)) if one[0] > 0 and one[1] in OFFERED]
    if not accept.strip():
        return JSON
    return OFFERED[max(weighed, key=lambda one: one[0])[1]] if weighed else None


def _weighed(text: str) -> tuple[float, str]:
    try:
        one = MediaType.of(text)
    except Rejected:
        return 0.0, ""
    weight = one.parameters.get("q", "1")
    return float(weight) if WEIGHT.fullmatch(weight) else 0.0, one.name


def module(outcomes: Iterable[Outcome], broken_off: Status | None, base: str) -> Json:
    """Give the module; `broken_off` is why what came after these parts was not read, `base` the service's address."""
    outcomes = tuple(outcomes)
    stored = [_stored(one, base) for one in outcomes if one.is_stored]
    failed = [one for one in outcomes if not one.is_stored]
    named = [_reference(one) | _failure(one.status) for one in failed if one.sop_class and one.sop_uid]
    unnamed = [_failure(one.status) for one in failed if not (one.sop_class and one.sop_uid)]
    unnamed += [_failure(broken_off)] if broken_off else []
    studies = {one.study_uid for one in outcomes if one.is_stored}
    url = f"{base}/studies/{studies.pop()}" if len(studies) == 1 else None
    sequences = {"00081198": named, "00081199": stored, "0008119A": unnamed}
    return _url(url) | {tag: {"vr": "SQ", "Value": items} for tag, items in sequences.items() if items}


def encode(dataset: Json, media_type: str) -> bytes:
    """Write a data set in one of the two media types."""
    return orjson.dumps(dataset) if media_type == JSON else _xml(dataset)


def _stored(one: Outcome, base: str) -> Json:
    url = f"{base}/studies/{one.study_uid}/series/{one.series_uid}/instances/{one.sop_uid}"
    warning: Json = {} if one.status is STORED else {WARNING_REASON: {"vr": "US", "Value": [one.status.code]}}
    return _reference(one) | _url(url) | warning


def _reference(one: Outcome) -> Json:
    return {"00081150": {"vr": "UI", "Value": [one.sop_class]}, "00081155": {"vr": "UI", "Value": [one.sop_uid]}}


def _failure(status: Status) -> Json:
    return {FAILURE_REASON: {"vr": "US", "Value": [status.code]}}


def _url(address: str | None) -> Json:
    return {RETRIEVE_URL: {"vr": "UR", "Value": [address]} if address else {"vr": "UR"}}


def _xml(dataset: Json) -> bytes:
    """Write the Native DICOM Model: PS3.19 A.1."""
    root = Element("NativeDicomModel", {"xmlns": NAMESPACE, "xml:space": "preserve"})
    _add(root, dataset)
    text: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _add(parent: Element, dataset: Mapping[str, Mapping[str, Any]]) -> None:
    for tag, element in sorted(dataset.items()):
        attributes = {"tag": tag, "vr": element["vr"], "keyword": KEYWORDS[tag]}
        attribute = SubElement(parent, "DicomAttribute", attributes)
        for number, value in enumerate(element.get("Value", ()), 1):
            if element["vr"] == "SQ":
                _add(SubElement(attribute, "Item", number=str(number)), value)
            else:
                SubElement(attribute, "Value", number=str(number)).text = str(value)
