"""Gateways whose clocks are hours from the truth store every instance, and what was stored first stays shown."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.audit.collect.catalog import catalog
from tests.support.data.generate import Instance, Volume, instances
from tests.support.machine.own_gateway import gateway
from tests.support.machine.processes import free_port
from tests.support.machine.running_stack import address_of
from tests.support.proof import Proof
from tests.support.senders.raw import raw, send_raw
from tests.support.senders.sender import Peer

# The date of all generated studies, and dates of other centuries or of no calendar.
GENERATED, DATES = b"20260317", (b"19000101", b"99991231", b"20260230")
# Within the 15 minutes that an S3 store allows a signature, and beyond them.
MINUTES_S, HOURS_S = 600, 7200


@dataclass(frozen=True)
class SkewedGateway:
    """A gateway whose machine's clock is ahead by what a file says."""

    peer: Peer
    ahead_s: Path

    def set_clock(self, ahead_s: int) -> None:
        """Set the clock, of the running gateway too."""
        fresh = self.ahead_s.with_suffix(".new")
        fresh.write_text(str(ahead_s))
        fresh.rename(self.ahead_s)


@contextmanager
def skewed(proof: Proof, folder: Path, ahead_s: int) -> Iterator[SkewedGateway]:
    """Run a gateway of the archive for the block, its clock set wrong by so much."""
    folder.mkdir()
    found = SkewedGateway(Peer(free_port(), patience_s=30), folder / "ahead")
    found.set_clock(ahead_s)
    module = ("tests.support.machine.moved_clock", str(found.ahead_s), "gateway")
    with gateway(proof.archive, folder, found.peer.port, {}, module):
        yield found


def contents(seed: int, count: int) -> list[Instance]:
    """Return different contents of one instance."""
    (first,) = instances(Volume(slices=1, size=64, seed=seed))
    return [replace(first, pixels=first.pixels[2 * turn :] + first.pixels[: 2 * turn]) for turn in range(count)]


def send(proof: Proof, one: Instance, to: SkewedGateway, folder: Path) -> str:
    """Send one content until it has its last answer, which is returned."""
    sendable = raw(one.write(folder / f"{one.data_hash}.dcm"), to.peer.tenant)
    assert sendable
    (status,) = send_raw([sendable], to.peer, proof.ledger).values()
    return status


def shown(proof: Proof, one: Instance) -> list[str]:
    """Return the hashes of what the catalog shows under the instance's UID, once the archive has come to rest."""
    assert proof.wrong() == {}
    rows = catalog(address_of(proof.archive), ["local"])["rows"]
    return [row.data_hash for row in rows if row.name.sop_uid == one.sop_uid]


@pytest.mark.fault("F25", "two gateways' clocks are {skew_s} s and as much the other way from the truth")
@pytest.mark.parametrize("skew_s", [MINUTES_S, -MINUTES_S, HOURS_S, -HOURS_S])
def test_a_gateway_with_another_clock_replaces_nothing(proof: Proof, tmp_path: Path, skew_s: int) -> None:
    one, other = contents(8_500 + skew_s, 2)

    with skewed(proof, tmp_path / "first", skew_s) as first, skewed(proof, tmp_path / "second", -skew_s) as second:
        statuses = [send(proof, one, first, tmp_path), send(proof, other, second, tmp_path)]
        found = shown(proof, one)

    assert statuses == ["0000", "0000"]
    assert found == [one.data_hash]


@pytest.mark.fault("F25", "a gateway's clock jumps 2 h back, and then 4 h ahead, while it runs")
def test_a_clock_that_jumps_while_a_gateway_runs_replaces_nothing(proof: Proof, tmp_path: Path) -> None:
    one, *others = contents(8_600, 3)

    with skewed(proof, tmp_path / "jumping", 0) as jumping:
        statuses = [send(proof, one, jumping, tmp_path)]
        for ahead_s, content in zip((-HOURS_S, HOURS_S), others, strict=True):
            jumping.set_clock(ahead_s)
            statuses.append(send(proof, content, jumping, tmp_path))
        found = shown(proof, one)

    # A process that knows of the first content warns of the others.
    assert statuses[0] == "0000"
    assert set(statuses) <= {"0000", "B007"}
    assert found == [one.data_hash]


@pytest.mark.fault("F25", "studies are dated in 1900, in 9999, and on a day that does not exist")
def test_the_dates_of_modalities_hold_nothing_up(proof: Proof, tmp_path: Path) -> None:
    made = instances(Volume(studies=len(DATES), slices=1, size=64, seed=8_700))
    every = [replace(one, header=one.header.replace(GENERATED, date)) for one, date in zip(made, DATES, strict=True)]

    tally = proof.send([one.write(tmp_path / one.file_name) for one in every])

    assert tally.complete, tally
    # Every study was settled.
    assert proof.wrong() == {}
