"""The history of a study: GET /v1/studies/{uid}/history. docs/history.md has its fields."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.dicomweb.resources import uid_of
from api.http.problems import NOT_FOUND
from api.services import reader_of, services_of
from api.v1.answers import json_answer
from operators.catalog.history.entries import History, history_of
from operators.catalog.query import PageLimits, page_of
from operators.http.problem import Problem

UNKNOWN = "nothing has arrived for this study, and no command names it: look at its UID"


async def history(request: Request) -> Response:
    """Answer with a page of what has happened to a study, the earliest first; a deleted study has its history too."""
    reader, settings = reader_of(request), services_of(request).settings
    study_uid = uid_of(request, "study") or ""
    page = page_of(request.query_params.multi_items(), PageLimits(settings.default_limit, settings.most_limit))
    rows = await reader.queries.history(reader.principal.tenant, study_uid, page.limit, page.offset)
    if not rows.is_known:
        raise Problem(NOT_FOUND, "no-such-study", UNKNOWN)
    return json_answer(request, body(study_uid, page.offset, history_of(rows)))


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
