"""A decoding process as its pool uses it: only the answer to the current job is accepted."""

import pytest

from operators.connectors.sandbox.process import ProcessDied, SandboxProcess
from tests.support.data.render_jobs import opened
from tests.support.machine.sandbox import ANSWERS, FORGED_ANSWER, GOOD_JOB, write_as
from tests.support.worlds.pictures import LIMITS


def test_a_process_answers_a_job_with_a_picture_and_is_idle_again() -> None:
    process = SandboxProcess(LIMITS).wait_until_ready()
    try:
        reason, picture = process.render(GOOD_JOB, 20)

        assert (reason, opened(picture).shape, process.jobs) == ("", (2, 3), 1)
        assert process.is_idle()
    finally:
        process.end()


def test_an_answer_without_the_jobs_nonce_is_not_accepted() -> None:
    process = SandboxProcess(LIMITS).wait_until_ready()
    try:
        write_as(process.pid, ANSWERS, FORGED_ANSWER)
        with pytest.raises(ProcessDied):
            process.render(GOOD_JOB, 20)
    finally:
        process.end()


def test_a_process_that_wrote_without_a_job_is_not_idle() -> None:
    process = SandboxProcess(LIMITS).wait_until_ready()
    try:
        write_as(process.pid, ANSWERS, FORGED_ANSWER)

        assert not process.is_idle()
    finally:
        process.end()
