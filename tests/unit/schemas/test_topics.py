"""Every event has its topic, only restricted topics hold patient data, and keys keep a study's records in order."""

from schemas import codec
from schemas.events import EVENTS, Event
from schemas.topics import TOPICS, study_key


def test_every_event_has_a_topic() -> None:
    assert {topic.event for topic in TOPICS} == set(EVENTS)


def test_only_restricted_topics_hold_patient_data() -> None:
    with_patient_data = {kind for kind in EVENTS if "patient data: restricted" in described(kind)}
    with_patient_data |= {kind for kind in EVENTS if "May hold patient data" in described(kind)}

    assert {topic.event for topic in TOPICS if topic.restricted} == with_patient_data


def described(kind: type[Event]) -> str:
    return str(codec.newest(kind.__name__).schema["doc"])


def test_all_records_of_a_study_have_one_key() -> None:
    assert study_key("local", "1.2.3") == b"local/1.2.3"
