"""The bytes of a study's state: every release must read those of earlier releases, so that a restored job continues."""

import pytest

from operators.stream.newer_release import UnknownState
from operators.study.state import (
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
SEEN = SeenEvent("3/0", ("t1", "t2"))


def test_a_study_is_read_from_the_bytes_of_an_earlier_release() -> None:
    assert read_study(STUDY_1) == STUDY


def test_a_study_is_written_as_an_earlier_release_reads_it() -> None:
    assert write_study(STUDY) == STUDY_1


def test_a_seen_event_is_read_from_the_bytes_of_an_earlier_release() -> None:
    assert read_seen(SEEN_1) == SEEN
    assert write_seen(SEEN) == SEEN_1


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
    with pytest.raises(UnknownState, match="version 2"):
        read(b'{"v":2,"study":{},"entry":{}}')
