"""A problem is told in the form of each door, without a value of the client's."""

import orjson

from operators.http.problem import Problem, bad_uid

BUSY = Problem(503, "memory", "the archive is busy: try again soon", {"Retry-After": "5"})


def test_a_problem_has_a_reason_for_machines_and_advice_for_people() -> None:
    assert orjson.loads(BUSY.body) == {"reason": "memory", "advice": "the archive is busy: try again soon"}


def test_as_problem_json_it_has_the_members_of_the_standard_too() -> None:
    assert orjson.loads(bad_uid().details) == {
        "title": "Bad Request",
        "status": 400,
        "detail": "UIDs in the path are digits and dots, at most 64 characters",
        "reason": "bad-uid",
    }
