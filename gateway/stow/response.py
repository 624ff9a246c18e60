"""The body of a STOW-RS response: the Store Instances Response Module (PS3.18 I.1), as JSON or XML.

The module has codes alone. Each item of a failure or a warning also has the words that a C-STORE response would have,
as the attribute that is defined for them: Error Comment (0000,0902).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import orjson

from gateway.intake.status import FAILED, NOT_SHOWN, OUT_OF_RESOURCES, STORED, Status
from gateway.stow.delivery import PartResult
from operators.http.media_types import JSON_TYPES

# The first is sent when the client accepts every type.
MEDIA_TYPES = (*JSON_TYPES, "application/dicom+xml", "application/xml", "text/xml")
# The HTTP statuses in place of 409 when nothing was stored and the instances are not at fault.
NONE_STORED = {OUT_OF_RESOURCES: 503, FAILED: 500}
NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"

ERROR_COMMENT = "00000902"
RETRIEVE_URL = "00081190"
FAILURE_REASON = "00081197"
WARNING_REASON = "00081196"
KEYWORDS = {
    ERROR_COMMENT: "ErrorComment",
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


def http_status(results: Sequence[PartResult], broken_off: Status | None) -> int:
    """Return the HTTP status: as in PS3.18 table 10.5.3-1, and 503 if nothing is stored now but may be stored later."""
    statuses = {result.status for result in results} | ({broken_off} if broken_off else set())
    if any(result.is_stored for result in results):
        return 200 if statuses == {STORED} else 202
    return next((code for status, code in NONE_STORED.items() if status in statuses), 409)


def response_module(results: Iterable[PartResult], broken_off: Status | None, base: str) -> Json:
    """Return the Store Instances Response Module.

    `broken_off` is the status of a request that was not read to its end, `base` the address of the DICOMweb service.
    """
    results = tuple(results)
    stored = [_stored(result, base) for result in results if result.is_stored]
    failed = [result for result in results if not result.is_stored]
    named = [_reference(result) | _failure(result.status) for result in failed if result.sop_class and result.sop_uid]
    unnamed = [_failure(result.status) for result in failed if not (result.sop_class and result.sop_uid)]
    unnamed += [_failure(broken_off)] if broken_off else []
    studies = {result.study_uid for result in results if result.is_stored}
    url = f"{base}/studies/{studies.pop()}" if len(studies) == 1 else None
    sequences = {"00081198": named, "00081199": stored, "0008119A": unnamed}
    return _url(url) | {tag: {"vr": "SQ", "Value": items} for tag, items in sequences.items() if items}


def encode(dataset: Json, media_type: str) -> bytes:
    """Return a data set in one of MEDIA_TYPES."""
    return orjson.dumps(dataset) if media_type in JSON_TYPES else _xml(dataset)


def _stored(result: PartResult, base: str) -> Json:
    # Nothing is, or other content is, at the address of what is not shown.
    is_shown = result.status != NOT_SHOWN
    url = f"{base}/studies/{result.study_uid}/series/{result.series_uid}/instances/{result.sop_uid}"
    warning: Json = {} if result.status == STORED else _reason(WARNING_REASON, result.status)
    return _reference(result) | _url(url if is_shown else None) | warning


def _reference(result: PartResult) -> Json:
    return {"00081150": {"vr": "UI", "Value": [result.sop_class]}, "00081155": {"vr": "UI", "Value": [result.sop_uid]}}


def _failure(status: Status) -> Json:
    return _reason(FAILURE_REASON, status)


def _reason(tag: str, status: Status) -> Json:
    """Return the code of a status under a tag, and its comment."""
    comment: Json = {ERROR_COMMENT: {"vr": "LO", "Value": [status.comment]}} if status.comment else {}
    return {tag: {"vr": "US", "Value": [status.code]}} | comment


def _url(address: str | None) -> Json:
    return {RETRIEVE_URL: {"vr": "UR", "Value": [address]} if address else {"vr": "UR"}}


def _xml(dataset: Json) -> bytes:
    """Return a data set in the Native DICOM Model (PS3.19 A.1)."""
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
