"""The digest of the instances that a study shows."""

from hashlib import sha256

from operators.catalog.digest import digest


def test_a_digest_is_the_hash_of_sorted_lines() -> None:
    expected = sha256(b"1.2 aa\n1.2.3 cc\n1.20 bb\nid-1\nid-2\n").hexdigest()

    assert digest([("1.20", "bb"), ("1.2", "aa"), ("1.2.3", "cc")], ["id-2", "id-1"]) == expected
