"""The history of a study: GET /v1/studies/{uid}/history. docs/history.md has its fields."""

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.dicomweb.resources import uid_of
from api.http.compression import coding_of, json_response
from api.http.problems import NOT_FOUND, not_acceptable
from api.services import reader_of, services_of
from operators.catalog.history.entries import History, history_of
from operators.catalog.query import PageLimits, page_of
from operators.http.accept import accepted, choose
from operators.http.media_types import JSON
from operators.http.problem import Problem

UNKNOWN = "nothing has arrived for this study, and no command names it: look at its UID"


async def history(request: Request) -> Response:
    """Answer with a page of what has happened to a study, the earliest first; a deleted study has its history too."""
    if choose(accepted(request.scope), (JSON,)) is None:
        raise not_acceptable(JSON)
    coding = coding_of(request)
    reader, settings = reader_of(request), services_of(request).settings
    study_uid = uid_of(request, "study") or ""
    page = page_of(request.query_params.multi_items(), PageLimits(settings.default_limit, settings.most_limit))
    rows = await reader.queries.history(reader.principal.tenant, study_uid, page.limit, page.offset)
    if not rows.is_known:
        raise Problem(NOT_FOUND, "no-such-study", UNKNOWN)
    return json_response(orjson.dumps(body(study_uid, page.offset, history_of(rows))), JSON, coding)


def body(study_uid: str, offset: int, found: History) -> dict[str, Any]:
    """Return the answer as an object of JSON."""
    return {
        "study": study_uid,
        "deleted": found.is_deleted,
        "held": found.is_held,
        "total": found.total,
        "offset": offset,
        "entries": [entry.as_json for entry in found.entries],
    }
