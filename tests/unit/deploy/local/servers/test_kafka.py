"""The broker's storage is made under an id that its tool reads."""

import base64

from deploy.local.servers.kafka import new_id


def test_no_id_looks_like_an_option() -> None:
    ids = [new_id() for _ in range(500)]

    assert not any(one.startswith("-") for one in ids)
    assert {len(base64.urlsafe_b64decode(f"{one}==")) for one in ids} == {16}
