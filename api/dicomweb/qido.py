"""QIDO-RS: searching for studies, series and instances (PS3.18 10.6)."""

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.dicomweb.resources import address, base_of, uid_of
from api.http.compression import coding_of, json_response
from api.http.problems import not_acceptable
from api.services import reader_of, services_of
from operators.catalog.ports import Hit, InstanceResult, Page, SeriesResult, StudyResult
from operators.catalog.query import PageLimits, Query, parse
from operators.dicom.attributes import LEVELS, Level, required_at
from operators.dicom.element_json import DicomJson
from operators.http.accept import accepted, choose
from operators.http.media_types import JSON_TYPES

# Instance Availability by tier (PS3.3 C.4.23.1.1); a newer release may have written others.
AVAILABILITY = {"hot": "ONLINE", "warm": "ONLINE", "cold": "NEARLINE"}
# PS3.18 tables 10.6.3-3 to -5: the attributes in every result, empty when their value is unknown.
REQUIRED: Mapping[Level, DicomJson] = {
    level: {attribute.path: {"vr": attribute.vr} for attribute in required_at(level)} for level in LEVELS
}
UTF_8 = {"vr": "CS", "Value": ["ISO_IR 192"]}
# The results that are kept as JSON: of 1 KB each, and at most of 48 KB, where headers are hostile.
KEPT = 2_000


def search(level: Level) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler that searches a level, within the study and the series in the path, if there are any."""

    async def handler(request: Request) -> Response:
        media_type = choose(accepted(request), JSON_TYPES)
        if media_type is None:
            raise not_acceptable(" or ".join(JSON_TYPES))
        coding = coding_of(request)
        reader, settings = reader_of(request), services_of(request).settings
        query = parse(
            request.query_params.multi_items(),
            level,
            study_uid=uid_of(request, "study"),
            series_uid=uid_of(request, "series"),
            limits=PageLimits(settings.default_limit, settings.most_limit),
        )
        page = await reader.queries.search(reader.principal.tenant, query)
        base = base_of(request)
        response = json_response(body(page, query, base), media_type, coding)
        for text in warnings(page, query):
            response.headers.append("warning", f'299 {base} "{text}"')
        return response

    handler.__name__ = f"search_{level}"
    return handler


def warnings(page: Page, query: Query) -> tuple[str, ...]:
    """Return the texts of the Warning headers (PS3.18 8.3.4.4)."""
    if not page.remaining:
        return query.warnings
    least = "at least " if page.remaining >= query.most_counted else ""
    return (*query.warnings, f"There are {least}{page.remaining} additional results that can be requested")


def body(page: Page, query: Query, base: str) -> bytes:
    """Return the results as a JSON array."""
    form = ResultForm(base, query.level, query.study_uid is not None, query.series_uid is not None, query.include)
    return b"[" + b",".join([encoded(hit, form) for hit in page.hits]) + b"]"


class ResultForm(NamedTuple):
    """What of a request its results depend on: the base of addresses, the path, and includefield as a query has it."""

    base: str
    level: Level
    names_study: bool
    names_series: bool
    include: frozenset[str] | None


@lru_cache(KEPT)
def encoded(hit: Hit, form: ResultForm) -> bytes:
    """Return a result as JSON, its attributes in order of tag (PS3.18 F.2.2).

    It is kept, because viewers ask for the same studies again and again; a result that has changed is another one.
    """
    return orjson.dumps(dataset(hit, form), option=orjson.OPT_SORT_KEYS)


def dataset(hit: Hit, form: ResultForm) -> DicomJson:
    """Return a result's attributes: of its level, of the levels above, and the computed ones (availability, URL)."""
    result: DicomJson = {}
    if hit.study:
        is_named = form.names_study and form.level != "study"
        result |= _included(_study(hit.study), form, is_named=is_named)
    if hit.series:
        is_named = form.names_series and form.level != "series"
        result |= _included(_series(hit.series), form, is_named=is_named)
    if hit.instance:
        result |= _instance(hit.instance)
    if form.level != "instance":
        result["00080056"] = {"vr": "CS", "Value": ["ONLINE"]}
    return result | _identity(hit, form.base)


def _included(attributes: DicomJson, form: ResultForm, *, is_named: bool) -> DicomJson:
    """Return a level's attributes; if the path names the study or series, only the attributes in includefield."""
    if not is_named or form.include is None:
        return attributes
    return {tag: element for tag, element in attributes.items() if tag in form.include}


def _identity(hit: Hit, base: str) -> DicomJson:
    identity: DicomJson = {
        "00080005": UTF_8,
        "00081190": _element("UR", address(base, hit.study_uid, hit.series_uid, hit.sop_uid)),
        "0020000D": _element("UI", hit.study_uid),
    }
    if hit.series_uid:
        identity["0020000E"] = _element("UI", hit.series_uid)
    return identity


def _study(facts: StudyResult) -> DicomJson:
    return {
        **REQUIRED["study"],
        **orjson.loads(facts.attributes),
        # OHIF counts the values without asking if there is a list: one study without it leaves its whole study list empty.
        "00080061": {"vr": "CS", "Value": list(facts.modalities)},
        "00080062": _element("UI", *facts.sop_classes),
        "00201206": _element("IS", facts.series),
        "00201208": _element("IS", facts.instances),
    }


def _series(facts: SeriesResult) -> DicomJson:
    return {**REQUIRED["series"], **orjson.loads(facts.attributes), "00201209": _element("IS", facts.instances)}


def _instance(facts: InstanceResult) -> DicomJson:
    return {
        **REQUIRED["instance"],
        **orjson.loads(facts.attributes),
        "00080056": _element("CS", AVAILABILITY.get(facts.tier, "UNAVAILABLE")),
        "00083002": _element("UI", facts.transfer_syntax),
    }


def _element(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}
