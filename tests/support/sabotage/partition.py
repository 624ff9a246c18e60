"""One partition of a topic, whose records are deleted, added to, and put back."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

ANSWER_S = 30.0


@dataclass
class Partition:
    """A partition as it was: the keys and values of its records, in order."""

    bootstrap: str
    topic: str
    number: int
    records: list[tuple[bytes | None, bytes | None]] = field(default_factory=list)
    _has_changed: bool = False

    @classmethod
    @contextmanager
    def of(cls, bootstrap: str, topic: str, number: int) -> Iterator[Self]:
        """Read a partition; after the block, delete what is there if anything was changed, and append what was."""
        partition = cls(bootstrap, topic, number)
        partition.records = partition.read()
        try:
            yield partition
        finally:
            if partition._has_changed:
                partition.delete()
                partition.append(*partition.records)

    def read(self) -> list[tuple[bytes | None, bytes | None]]:
        """Return key and value of every record."""
        config = {"group.id": "saboteur", "enable.partition.eof": True, "auto.offset.reset": "earliest"}
        consumer = Consumer({"bootstrap.servers": self.bootstrap, **config})
        found: list[tuple[bytes | None, bytes | None]] = []
        consumer.assign([TopicPartition(self.topic, self.number, 0)])
        try:
            while (record := consumer.poll(ANSWER_S)) is not None:
                if (error := record.error()) is not None:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    return found
                found.append((record.key(), record.value()))
        finally:
            consumer.close()
        raise TimeoutError(self.topic)

    def delete(self) -> None:
        """Delete every record that is there now."""
        self._has_changed = True
        client = AdminClient({"bootstrap.servers": self.bootstrap})
        # -1: up to the end.
        for future in client.delete_records([TopicPartition(self.topic, self.number, -1)]).values():
            future.result(ANSWER_S)

    def append(self, *records: tuple[bytes | None, bytes | None]) -> None:
        """Append records."""
        self._has_changed = True
        producer, failed = Producer({"bootstrap.servers": self.bootstrap}), list[Any]()
        for key, value in records:
            producer.produce(
                self.topic,
                value,
                key,
                self.number,
                on_delivery=lambda error, _: failed.append(error) if error else None,
            )
        assert producer.flush(ANSWER_S) == 0
        assert not failed
