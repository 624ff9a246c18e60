"""Every event has its topic, only restricted topics hold patient data, and keys keep a study's records in order."""

import pytest

from schemas import codec
from schemas.events import EVENTS, Event
from schemas.topics import POLICY_CHANGED, TOPICS, TRANSFER_ENDED, Topic, record_key, study_key
from tests.support.worlds.studies import STUDY, ended


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


def test_the_end_of_a_transfer_without_a_study_is_keyed_by_its_transfer() -> None:
    assert record_key(ended("t1")) == study_key("local", STUDY)
    assert record_key(ended("t1", study=None)) == b"local/t1"


def test_the_last_record_of_every_policy_is_kept_for_ever() -> None:
    assert POLICY_CHANGED.config["cleanup.policy"] == "compact"
    assert "retention.ms" not in POLICY_CHANGED.config
    assert POLICY_CHANGED.changes_to({**POLICY_CHANGED.config, "cleanup.policy": "delete"}) == {
        "cleanup.policy": "compact"
    }


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_a_topic_with_our_settings_is_left_as_it_is(topic: Topic) -> None:
    assert topic.changes_to(topic.config) == {}


@pytest.mark.parametrize(
    ("changed", "changes"),
    [
        ({"message.timestamp.type": "CreateTime"}, {"message.timestamp.type": "LogAppendTime"}),
        ({"max.message.bytes": "1000"}, {"max.message.bytes": str(TRANSFER_ENDED.max_message_bytes)}),
        ({"max.message.bytes": "104857600"}, {}),
        ({"retention.ms": "3600000"}, {}),
        ({"compression.type": "gzip"}, {}),
        ({"min.insync.replicas": "2"}, {}),
    ],
)
def test_only_what_the_archive_cannot_do_without_is_changed(changed: dict[str, str], changes: dict[str, str]) -> None:
    assert TRANSFER_ENDED.changes_to({**TRANSFER_ENDED.config, **changed}) == changes
