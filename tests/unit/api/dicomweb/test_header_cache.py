"""The header cache keeps the most recently used values, within its size."""

from hypothesis import given
from hypothesis import strategies as st

from api.dicomweb.header_cache import HeaderCache


def test_the_least_recently_used_value_is_removed_first() -> None:
    cache = HeaderCache(64)
    for name in "abcdefghijklmnop":
        cache.put((name,), b"1234")
    cache.get(("a",))
    cache.put(("q",), b"1234")

    assert cache.get(("a",)) == b"1234"
    assert cache.get(("b",)) is None


def test_a_large_value_is_not_kept_and_displaces_nothing() -> None:
    cache = HeaderCache(64)
    cache.put(("a",), b"1234")
    cache.put(("b",), b"12345")

    assert cache.get(("a",)) == b"1234"
    assert cache.get(("b",)) is None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.binary(max_size=20))), st.integers(0, 100))
def test_the_cache_stays_within_its_size_and_returns_only_stored_values(
    puts: list[tuple[str, bytes]], most_bytes: int
) -> None:
    cache, seen = HeaderCache(most_bytes), dict[str, set[bytes]]()
    for name, value in puts:
        cache.put((name,), value)
        seen.setdefault(name, set()).add(value)
        found = {name: cache.get((name,)) for name in seen}

        assert cache.size_bytes == sum(len(one) for one in found.values() if one is not None) <= most_bytes
        assert all(one is None or one in seen[name] for name, one in found.items())
