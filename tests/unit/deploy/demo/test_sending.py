"""A study counts as sent only when storescu ends well and every file was stored."""

from collections import Counter

import pytest

from deploy.demo.sending import check_statuses
from deploy.errors import Failed


def test_success_and_warnings_count_as_stored() -> None:
    check_statuses(Counter({"0000": 2, "B007": 1}), files=3, exit_status=0, last_line="")


@pytest.mark.parametrize(
    ("statuses", "exit_status", "problem"),
    [
        (Counter({"0000": 2, "A700": 1}), 0, r"2 of 3 acknowledged \(2 x 0000, 1 x A700\)"),
        (Counter({"0000": 2}), 0, r"2 of 3 acknowledged"),
        (Counter({"0000": 3}), 1, r"3 of 3 acknowledged"),
        (Counter(), 1, r"0 of 3 acknowledged \(no route\)"),
    ],
)
def test_other_statuses_or_a_failed_client_are_reported_with_all_statuses(
    statuses: Counter[str], exit_status: int, problem: str
) -> None:
    with pytest.raises(Failed, match=problem):
        check_statuses(statuses, files=3, exit_status=exit_status, last_line="no route")
