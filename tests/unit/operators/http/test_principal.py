"""The same rules find the principal of an HTTP request at the STOW door and in the read API."""

import pytest

from operators.access.principal import NotAllowed, Principal
from operators.http.principal import RequestHead, principal_of
from operators.http.problem import Problem

HEADERS = {"host": ["localhost:8060"]}


def test_a_client_on_this_machine_is_the_tenants_loopback_principal() -> None:
    principal = principal_of(RequestHead("1.1", "127.0.0.1", HEADERS), "local")

    assert principal == Principal("local", "loopback", "peer address")


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (RequestHead("1", "127.0.0.1", HEADERS), "http-1.0"),
        (RequestHead("1.1", "10.0.0.1", HEADERS), "not-loopback"),
        (RequestHead("1.1", "", HEADERS), "not-loopback"),
        (RequestHead("1.1", "::1", HEADERS | {"forwarded": ["for=10.0.0.1"]}), "forwarded"),
        (RequestHead("1.1", "::1", {"host": ["localhost", "localhost"]}), "host"),
        (RequestHead("1.1", "::1", {}), "host"),
        (RequestHead("1.1", "::1", {"host": ["localhost:@evil.example"]}), "host"),
        (RequestHead("1.1", "::1", {"host": ["localhost:80/x?"]}), "host"),
        (RequestHead("1.1", "::1", {"host": ["localhost:"]}), "host"),
        (RequestHead("1.1", "::1", HEADERS | {"origin": ["http://localhost:8061"]}), "origin"),
        (RequestHead("1.1", "::1", HEADERS | {"origin": ["https://localhost:8060", "http://evil.example"]}), "origin"),
        (RequestHead("1.1", "::1", HEADERS | {"origin": ["null"]}), "origin"),
    ],
)
def test_each_rule_refuses_with_its_own_reason(head: RequestHead, reason: str) -> None:
    with pytest.raises(NotAllowed, match=reason):
        principal_of(head, "local")


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "Same-Origin-not", "none, cross-site"])
def test_a_browser_that_asks_for_a_page_of_another_origin_is_refused(site: str) -> None:
    head = RequestHead("1.1", "127.0.0.1", HEADERS | {"sec-fetch-site": [site]})

    with pytest.raises(NotAllowed, match="fetch-site"):
        principal_of(head, "local")


def test_a_second_fetch_site_hides_no_first_one() -> None:
    head = RequestHead("1.1", "127.0.0.1", HEADERS | {"sec-fetch-site": ["same-origin", "cross-site"]})

    with pytest.raises(NotAllowed, match="fetch-site"):
        principal_of(head, "local")


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_a_browser_that_asks_for_a_page_of_this_server_or_for_its_user_is_let_in(site: str) -> None:
    head = RequestHead("1.1", "127.0.0.1", HEADERS | {"sec-fetch-site": [site]})

    assert principal_of(head, "local").tenant == "local"


def test_a_scope_without_a_client_has_no_peer_address() -> None:
    head = RequestHead.of({"http_version": "1.1", "client": None, "headers": [(b"Host", b"a"), (b"host", b"b")]})

    assert head == RequestHead("1.1", "", {"host": ["a", "b"]})


@pytest.mark.parametrize("port", ["0", "00", "65536", "99999", "9" * 5000])
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]"])
def test_a_host_with_a_port_that_there_is_not_is_400(name: str, port: str) -> None:
    with pytest.raises(Problem) as raised:
        principal_of(RequestHead("1.1", "::1", {"host": [f"{name}:{port}"]}), "local")

    assert (raised.value.status, raised.value.reason) == (400, "host-port")


@pytest.mark.parametrize("port", ["1", "65535", "008060"])
def test_every_other_port_of_a_host_is_let_pass(port: str) -> None:
    assert principal_of(RequestHead("1.1", "::1", {"host": [f"localhost:{port}"]}), "local").tenant == "local"
