"""The bytes of a study's state: every release must read those of earlier releases, so that a restored job continues."""

from dataclasses import replace

import pytest

from operators.stream.newer_release import UnknownState
from operators.study.state import (
    CountedCommand,
    Expectation,
    HeardCommands,
    LastDue,
    OpenWindow,
    SeenEvent,
    TransferEnds,
    TransferProgress,
    WatchedStudy,
    read_seen,
    read_study,
    write_seen,
    write_study,
)

# Written by a job with version 1 of the state: never change these bytes.
STUDY_1 = (
    b'{"v":1,"study":{"tenant":"local","study_uid":"1.2.3","window":{"name":"3/0","opened_at":10.5,"last_at":12.25,'
    b'"releasable":true,"partition":3,"offset":4,"cause":"e-2","instances":2,"transfers":1,"modality":"CT",'
    b'"several":true,"completed_at":null},"transfers":{"t1":{"heard_at":12.25,"seen":2,"window":"3/0","instances":3}},'
    b'"ends":{"heard_at":11.0,"broken_at":9.0,"mended_at":null},"due":{"at":5.0,"quiet_s":60.0}}}'
)
# Written by a job with version 2, likewise.
STUDY_2 = (
    b'{"v":2,"study":{"tenant":"local","study_uid":"1.2.3","window":{"name":"3/0","opened_at":10.5,"last_at":12.25,'
    b'"releasable":true,"partition":3,"offset":4,"cause":"e-2","instances":2,"transfers":1,"modality":"CT",'
    b'"several":true,"completed_at":null,"command":{"partition":5,"offset":7,"cause":"c-2"}},'
    b'"transfers":{"t1":{"heard_at":12.25,"seen":2,"window":"3/0","instances":3}},'
    b'"ends":{"heard_at":11.0,"broken_at":9.0,"mended_at":null},"due":{"at":5.0,"quiet_s":60.0},'
    b'"expectation":{"heard_at":8.0,"instances":100,"command":{"partition":5,"offset":6,"cause":"c-1"}},'
    b'"commands":{"heard_at":12.5,"latest":{"expect":[1764000000.25,"c-1"]}}}}'
)
SEEN_1 = b'{"v":1,"entry":{"window":"3/0","transfers":["t1","t2"]}}'

WINDOW = OpenWindow(
    name="3/0",
    opened_at=10.5,
    last_at=12.25,
    releasable=True,
    partition=3,
    offset=4,
    cause="e-2",
    instances=2,
    transfers=1,
    modality="CT",
    several=True,
)
STUDY = WatchedStudy(
    tenant="local",
    study_uid="1.2.3",
    window=WINDOW,
    transfers={"t1": TransferProgress(heard_at=12.25, seen=2, window="3/0", instances=3)},
    ends=TransferEnds(heard_at=11.0, broken_at=9.0),
    due=LastDue(at=5.0, quiet_s=60.0),
)
COMMANDED = replace(
    STUDY,
    window=replace(WINDOW, command=CountedCommand(partition=5, offset=7, cause="c-2")),
    expectation=Expectation(heard_at=8.0, instances=100, command=CountedCommand(partition=5, offset=6, cause="c-1")),
    commands=HeardCommands(heard_at=12.5, latest={"expect": (1764000000.25, "c-1")}),
)
SEEN = SeenEvent("3/0", ("t1", "t2"))
SEEN_2 = b'{"v":2,"entry":{"window":"3/0","transfers":["t1","t2"]}}'


@pytest.mark.parametrize(("written", "study"), [(STUDY_1, STUDY), (STUDY_2, COMMANDED)])
def test_a_study_is_read_from_the_bytes_of_each_version(written: bytes, study: WatchedStudy) -> None:
    assert read_study(written) == study


@pytest.mark.parametrize("written", [SEEN_1, SEEN_2])
def test_a_seen_event_is_read_from_the_bytes_of_each_version(written: bytes) -> None:
    assert read_seen(written) == SEEN


def test_studies_and_seen_events_are_written_in_the_present_version() -> None:
    assert write_study(COMMANDED) == STUDY_2
    assert write_seen(SEEN) == SEEN_2
    assert read_study(write_study(STUDY)) == STUDY


def test_an_empty_study_reads_back() -> None:
    empty = WatchedStudy(tenant="local", study_uid="1.2.3")

    assert read_study(write_study(empty)) == empty
    assert empty.is_empty


def test_missing_bytes_are_read_as_empty_state() -> None:
    assert read_study(None) is None
    assert read_seen(None) == SeenEvent()


@pytest.mark.parametrize("read", [read_study, read_seen])
def test_state_of_another_version_is_refused(read: object) -> None:
    assert callable(read)
    with pytest.raises(UnknownState, match="version 3"):
        read(b'{"v":3,"study":{},"entry":{}}')
