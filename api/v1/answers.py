"""What every answer below /v1 is: JSON, compressed as the client asks."""

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.http.compression import coding_of, json_response
from api.http.problems import not_acceptable
from operators.http.accept import accepted, choose
from operators.http.media_types import JSON


def json_answer(request: Request, value: dict[str, Any]) -> Response:
    """Return an object of JSON as the answer to a request; raises Problem if the client accepts no JSON."""
    if choose(accepted(request.scope), (JSON,)) is None:
        raise not_acceptable(JSON)
    return json_response(orjson.dumps(value), JSON, coding_of(request))
