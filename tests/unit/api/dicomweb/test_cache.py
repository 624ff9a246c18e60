"""What is kept of finished headers: as much as was allowed, what was asked for last (SECURITY: memory is bounded)."""

from hypothesis import given
from hypothesis import strategies as st

from api.dicomweb.cache import Kept


def test_what_was_asked_for_last_stays() -> None:
    kept = Kept(64)
    for name in "abcdefghijklmnop":
        kept.put((name,), b"1234")
    kept.get(("a",))
    kept.put(("q",), b"1234")

    assert kept.get(("a",)) == b"1234"
    assert kept.get(("b",)) is None


def test_one_large_value_pushes_out_nothing() -> None:
    kept = Kept(64)
    kept.put(("a",), b"1234")
    kept.put(("b",), b"12345")

    assert kept.get(("a",)) == b"1234"
    assert kept.get(("b",)) is None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.binary(max_size=20))), st.integers(0, 100))
def test_no_more_is_kept_than_allowed_and_nothing_else_than_was_put(
    puts: list[tuple[str, bytes]], most_bytes: int
) -> None:
    kept, seen = Kept(most_bytes), dict[str, set[bytes]]()
    for name, value in puts:
        kept.put((name,), value)
        seen.setdefault(name, set()).add(value)
        found = {name: kept.get((name,)) for name in seen}

        assert kept.size_bytes == sum(len(one) for one in found.values() if one is not None) <= most_bytes
        assert all(one is None or one in seen[name] for name, one in found.items())
