"""The broker's storage is formatted with an id that the storage tool accepts."""

import base64

from deploy.local.servers.kafka import new_cluster_id


def test_no_id_looks_like_an_option() -> None:
    ids = [new_cluster_id() for _ in range(500)]

    assert not any(cluster_id.startswith("-") for cluster_id in ids)
    assert {len(base64.urlsafe_b64decode(f"{cluster_id}==")) for cluster_id in ids} == {16}
