"""A render job is the same after it was packed for another process and unpacked there."""

from hypothesis import given
from hypothesis import strategies as st

from operators.errors import BadQuery
from operators.imaging.job import RenderJob, pack_job, unpack_job
from operators.imaging.request import parse_rendering


@given(st.dictionaries(st.sampled_from(["window", "viewport", "quality"]), st.text(max_size=40)))
def test_any_query_is_refused_or_becomes_a_job_that_is_unpacked_as_it_was_packed(query: dict[str, str]) -> None:
    try:
        found = parse_rendering(query.items(), "image/jpeg")
    except BadQuery:
        return

    job = RenderJob("1.2", 1, "native", found)
    assert unpack_job(pack_job(job), b"", b"") == job
