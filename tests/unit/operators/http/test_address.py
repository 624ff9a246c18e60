"""Addresses in answers lead back to the origin, whatever the client wrote into Host (CONFORMANCE.md, WADO-RS)."""

import pytest

from operators.http.address import service_address

ADDRESSES = [
    ("http", "localhost:8060", 8060, "http://localhost:8060"),
    ("http", "localhost", 8060, "http://localhost:8060"),
    ("http", "localhost", "8060", "http://localhost:8060"),
    ("http", "127.0.0.1", "80", "http://127.0.0.1"),
    ("http", "LOCALHOST", 8060, "http://LOCALHOST:8060"),
    ("http", "[::1]", 8060, "http://[::1]:8060"),
    ("http", "[::1]:9000", 8060, "http://[::1]:9000"),
    # Another port than the connection's is a tunnel's: the client knows where it entered.
    ("http", "127.0.0.1:9000", 8060, "http://127.0.0.1:9000"),
    ("http", "127.0.0.1", 80, "http://127.0.0.1"),
    ("https", "127.0.0.1", 443, "https://127.0.0.1"),
    ("https", "127.0.0.1", 80, "https://127.0.0.1:80"),
    ("http", "127.0.0.1", None, "http://127.0.0.1"),
]


@pytest.mark.parametrize(("scheme", "host", "port", "origin"), ADDRESSES)
def test_an_address_has_the_host_of_the_client_and_a_port_that_answers(
    scheme: str, host: str, port: int | str | None, origin: str
) -> None:
    scope = {"scheme": scheme, "headers": [(b"host", host.encode())], "server": ("127.0.0.1", port)}

    assert service_address(scope) == f"{origin}/dicomweb"


def test_a_server_that_does_not_say_its_port_gives_the_host_alone() -> None:
    assert service_address({"scheme": "http", "headers": [(b"Host", b"localhost")]}) == "http://localhost/dicomweb"


@pytest.mark.parametrize("url", ["https://pacs.example.org/archive", "https://pacs.example.org/archive/"])
def test_the_public_address_stands_in_place_of_the_clients(url: str) -> None:
    scope = {"scheme": "http", "headers": [(b"host", b"localhost:8060")], "server": ("127.0.0.1", 8060)}

    assert service_address(scope, url) == "https://pacs.example.org/archive/dicomweb"
