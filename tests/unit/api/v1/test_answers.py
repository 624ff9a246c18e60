"""An answer below /v1 is JSON, as the client asks for it, or 406."""

import pytest
from starlette.requests import Request

from api.v1.answers import json_answer
from operators.http.problem import Problem


def request(**headers: str) -> Request:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/v1/policies", "headers": named})


@pytest.mark.parametrize("accept", ["application/json", "*/*", "text/html, application/*;q=0.1"])
def test_an_object_is_answered_as_json_to_whoever_accepts_it(accept: str) -> None:
    answer = json_answer(request(accept=accept), {"total": 0})

    assert (answer.body, answer.media_type) == (b'{"total":0}', "application/json")


def test_who_accepts_no_json_is_told_what_there_is() -> None:
    with pytest.raises(Problem) as refused:
        json_answer(request(accept="text/html"), {})

    assert refused.value.status == 406
