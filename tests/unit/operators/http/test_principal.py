"""One rule says who asks, at both doors."""

import pytest

from operators.http.principal import Asked, NotAllowed, Principal, authorize, principal_of

HEADERS = {"host": ["localhost:8060"]}


def test_this_machine_may_read_and_store_for_the_tenant_and_nothing_else() -> None:
    principal = principal_of(Asked("1.1", "127.0.0.1", HEADERS), "local")

    assert principal == Principal("local", "loopback", "peer address")
    for action in ("read", "store"):
        authorize(principal, action, "/dicomweb/studies")
    with pytest.raises(NotAllowed, match="not-allowed"):
        authorize(principal, "delete", "/dicomweb/studies")


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (Asked("1", "127.0.0.1", HEADERS), "http-1.0"),
        (Asked("1.1", "10.0.0.1", HEADERS), "not-loopback"),
        (Asked("1.1", "", HEADERS), "not-loopback"),
        (Asked("1.1", "::1", HEADERS | {"forwarded": ["for=10.0.0.1"]}), "forwarded"),
        (Asked("1.1", "::1", {"host": ["localhost", "localhost"]}), "host"),
        (Asked("1.1", "::1", {}), "host"),
        (Asked("1.1", "::1", {"host": ["localhost:@evil.example"]}), "host"),
        (Asked("1.1", "::1", {"host": ["localhost:80/x?"]}), "host"),
        (Asked("1.1", "::1", {"host": ["localhost:"]}), "host"),
        (Asked("1.1", "::1", HEADERS | {"origin": ["http://localhost:8061"]}), "origin"),
        (Asked("1.1", "::1", HEADERS | {"origin": ["https://localhost:8060", "http://evil.example"]}), "origin"),
        (Asked("1.1", "::1", HEADERS | {"origin": ["null"]}), "origin"),
    ],
)
def test_each_rule_refuses_by_name(asked: Asked, reason: str) -> None:
    with pytest.raises(NotAllowed, match=reason):
        principal_of(asked, "local")


def test_a_scope_without_a_peer_names_nobody() -> None:
    asked = Asked.of({"http_version": "1.1", "client": None, "headers": [(b"Host", b"a"), (b"host", b"b")]})

    assert asked == Asked("1.1", "", {"host": ["a", "b"]})
