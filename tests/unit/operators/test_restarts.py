"""A program that ends is started again: at once after a long run, later and later after short ones, and not for ever."""

import pytest

from operators.restarts import LONG_RUN_S, MAX_BACK_OFF_S, MAX_STARTS, Restarts

SHORT_S = LONG_RUN_S / 2


def after(*runs: tuple[float, bool]) -> Restarts:
    restarts = Restarts()
    for ran_s, was_healthy in runs:
        restarts.add(ran_s, was_healthy=was_healthy)
    return restarts


def test_the_wait_doubles_with_every_short_run_up_to_its_bound() -> None:
    waits = [after(*[(SHORT_S, True)] * runs).wait_s() for runs in range(8)]

    assert waits == pytest.approx([0, 0.2, 0.4, 0.8, 1.6, 3.2, MAX_BACK_OFF_S, MAX_BACK_OFF_S])


def test_after_a_long_healthy_run_there_is_no_wait() -> None:
    assert after(*[(SHORT_S, True)] * 4, (LONG_RUN_S + 1, True)).wait_s() == 0


def test_a_long_start_that_never_became_ready_is_no_long_run() -> None:
    assert after((LONG_RUN_S + 1, False)).wait_s() > 0


def test_a_program_is_given_up_after_five_starts_in_a_row_without_becoming_ready() -> None:
    unready = [(SHORT_S, False)] * MAX_STARTS

    assert after(*unready).is_hopeless
    assert not after(*unready[1:]).is_hopeless
    assert not after(*unready[1:], (SHORT_S, True), *unready[1:]).is_hopeless
