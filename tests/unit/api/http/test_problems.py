"""Every failure is answered with its status, a reason for machines and advice for people."""

import json

import pytest
from starlette.exceptions import HTTPException

from api.http.problems import answer, problem_of
from operators.access.principal import NotAllowed
from operators.errors import BadQuery, Rejected, Unavailable
from operators.http.problem import Problem
from operators.imaging.ports import FrameRejected, RendererBusy
from operators.retrieval.reading import Damaged, NotFound


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (Problem(416, "bad-range", "ask for less"), 416, "bad-range"),
        (NotAllowed("origin", "pages of another origin may not ask"), 403, "origin"),
        (NotFound("series"), 404, "no-such-series"),
        (Damaged("object-short"), 500, "object-short"),
        (BadQuery("StudyDate takes a date"), 400, "bad-query"),
        (Unavailable("catalog"), 503, "catalog-unavailable"),
        (RendererBusy(), 503, "renderer-busy"),
        (FrameRejected("undecodable-frame"), 406, "undecodable-frame"),
        (FrameRejected("empty-region"), 400, "empty-region"),
        (Rejected("bad-frame"), 500, "bad-frame"),
        (HTTPException(405, "use GET"), 405, "bad-request"),
        (ZeroDivisionError("Smith^Ann"), 500, "unexpected"),
    ],
)
def test_each_failure_has_its_answer(error: Exception, status: int, reason: str) -> None:
    problem = problem_of(error)

    assert (problem.status, problem.reason) == (status, reason)
    assert problem.advice
    assert "Smith" not in problem.advice


@pytest.mark.parametrize("error", [Unavailable("store"), RendererBusy()])
def test_a_temporary_failure_says_when_to_try_again(error: Exception) -> None:
    assert answer(problem_of(error), "/dicomweb/studies").headers["retry-after"] == "5"


@pytest.mark.parametrize(
    ("path", "media_type", "names"),
    [
        ("/dicomweb/studies", "application/json", {"reason", "advice"}),
        ("/v1/studies/1.2/history", "application/problem+json", {"title", "status", "detail", "reason"}),
    ],
)
def test_a_problem_below_v1_has_the_form_of_rfc_9457(path: str, media_type: str, names: set[str]) -> None:
    response = answer(problem_of(NotFound("study")), path)

    assert (response.status_code, response.media_type) == (404, media_type)
    assert set(json.loads(bytes(response.body))) == names
