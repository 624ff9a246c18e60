"""The same instance sent repeatedly to both doors at once becomes one object and one row; other bytes are a conflict."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from deploy.commands.__main__ import main as commands
from tests.audit.collect.catalog import catalog
from tests.audit.collect.object_store import BUCKETS, listed, store
from tests.audit.collect.topics import Topics
from tests.audit.ledger import Line
from tests.support.data.generate import Instance, Volume, instances
from tests.support.machine.running_stack import address_of
from tests.support.proof import Proof
from tests.support.senders.raw import raw
from tests.support.senders.scu import associated
from tests.support.senders.stow import Door, stow

TIMES = 5


def made(seed: int) -> Instance:
    return next(instances(Volume(slices=1, size=64, seed=seed)))


def by_association(proof: Proof, path: Path) -> set[str]:
    """Send a file several times over one association of its own."""
    one = raw(path, proof.peer.tenant)
    assert one
    with associated(proof.peer, *one.kind) as association:
        statuses = {f"{association.store(one):04X}" for _ in range(TIMES)}
    proof.ledger.answer(one.line, "acked" if statuses <= {"0000", "B007"} else "failed", "0000")
    return statuses


def by_requests(proof: Proof, path: Path) -> set[str]:
    """Send a file in several requests at once."""
    with ThreadPoolExecutor(TIMES) as pool:
        door = Door(proof.archive.api_url)
        answers = pool.map(lambda _: stow([path], door, proof.ledger, requests=1), range(TIMES))
        return {status for answer in answers for status in answer.values()}


def all_at_once(*tasks: Callable[[], set[str]]) -> set[str]:
    with ThreadPoolExecutor(len(tasks)) as pool:
        return {status for statuses in pool.map(lambda task: task(), tasks) for status in statuses}


def keys_of(proof: Proof, line: Line) -> set[str]:
    with store(address_of(proof.archive)) as client:
        return {key for _, key, _ in listed(client, BUCKETS) if f"/{line.study_uid}/" in key}


@pytest.mark.fault("F22", "one content five times at once over each of two associations and by STOW-RS")
def test_one_content_through_both_doors_at_once_is_one_object_and_one_row(proof: Proof, tmp_path: Path) -> None:
    one = made(8_100)
    path = one.write(tmp_path / "one.dcm")
    associations = [partial(by_association, proof, path)] * 2

    statuses = all_at_once(*associations, partial(by_requests, proof, path))

    assert statuses == {"0000"}
    assert proof.wrong() == {}
    line = Line("acked", "local", one.study_uid, one.series_uid, one.sop_uid, one.data_hash)
    found = catalog(address_of(proof.archive), ["local"])
    assert len(keys_of(proof, line)) == 1
    assert [row.data_hash for row in found["rows"] if row.name.study_uid == one.study_uid] == [one.data_hash]
    assert not [name for name, _ in found["conflicts"] if name.study_uid == one.study_uid]


@pytest.mark.fault("F22", "other bytes under one UID at once over two associations and by STOW-RS")
def test_other_bytes_under_one_uid_are_kept_announced_and_listed(
    proof: Proof, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = made(8_200)
    other = replace(one, pixels=one.pixels[::-1])
    first, second = one.write(tmp_path / "one.dcm"), other.write(tmp_path / "other.dcm")

    statuses = all_at_once(
        partial(by_association, proof, first),
        partial(by_requests, proof, second),
        partial(by_association, proof, second),
    )

    assert "0000" in statuses <= {"0000", "B007"}
    assert proof.wrong() == {}
    contents = {one.data_hash, other.data_hash}
    lost = [
        name_hash
        for name, name_hash in catalog(address_of(proof.archive), ["local"])["conflicts"]
        if name.sop_uid == one.sop_uid
    ]
    assert len(lost) == 1
    line = Line("acked", "local", one.study_uid, one.series_uid, one.sop_uid, one.data_hash)
    assert {key.split("_")[1] for key in keys_of(proof, line)} == {f"{digest}.dcm" for digest in contents}
    with Topics(address_of(proof.archive).setting("FLUORO_BROKER_BOOTSTRAP")) as topics:
        topics.read_on()
        raised = [one for one in topics.records["instance-conflict"] if one["sop_uid"] == other.sop_uid]
    assert {(event["lost_data_hash"], event["kind"]) for event in raised} >= {(lost[0], "content")}
    monkeypatch.setenv("FLUORO_DATA", str(proof.archive.folder.root))
    capsys.readouterr()
    assert commands(["conflicts", "show", one.sop_uid, "--json"]) == 0
    listed_now = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [(found["kept_hash"], found["shown_hash"]) for found in listed_now] == [(lost[0], *(contents - {lost[0]}))]
