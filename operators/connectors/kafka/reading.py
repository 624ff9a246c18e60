"""Reading a topic from one place to another, in the order of the broker's dates; nothing is committed."""

import heapq
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Self

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from operators.connectors.kafka.clients import ClientLog, client_config
from operators.errors import Unavailable
from operators.stream.step import Record
from schemas.settings.servers import BrokerSettings

# A wait for the broker is cut into these pieces, so that Ctrl-C is heard.
POLL_S = 0.2
# How long the broker may send nothing at all.
SILENCE_S = 15.0
# A partition that is this far ahead of the others is read on only when all of it was taken.
MOST_RECORDS, MOST_BYTES = 1000, 4 * 2**20
# The errors of a connection, and that of a missing right to the group: nothing is committed, so none is needed.
GOES_ON = (
    KafkaError._TRANSPORT,  # noqa: SLF001 - the names of public constants
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError.GROUP_AUTHORIZATION_FAILED,
)


class TopicReader:
    """A consumer of spans of one topic's partitions; it keeps a bounded number of records. It must be entered."""

    def __init__(self, settings: BrokerSettings, topic: str, spans: Mapping[int, range]) -> None:
        own = {"group.id": "fluoro-topics", "enable.auto.commit": False, "enable.partition.eof": True}
        fetching = {"auto.offset.reset": "earliest", "queued.max.messages.kbytes": 16 * 1024}
        config = client_config(settings)
        self._said: ClientLog = config["logger"]
        self._consumer = Consumer(config | own | fetching)
        self._topic = topic
        self._trouble: KafkaError | None = None
        self._partitions = {partition: _Partition(span) for partition, span in spans.items() if span}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def records(self) -> Iterator[Record]:
        """Yield the records, the earliest first, those of a partition by offset.

        Raises Unavailable when the broker refuses, or sends nothing for SILENCE_S.
        """
        starts = [TopicPartition(self._topic, number, one.span.start) for number, one in self._partitions.items()]
        self._consumer.assign(starts)
        yield from heapq.merge(*map(self._of, self._partitions), key=lambda one: (one.timestamp_ms, one.partition))

    def _of(self, number: int) -> Iterator[Record]:
        partition = self._partitions[number]
        while self._fill(number, partition):
            yield partition.take()

    def _fill(self, number: int, partition: "_Partition") -> bool:
        """Wait for the partition's next record; False when there is none any more."""
        if partition.is_paused and not partition.records and not partition.is_at_end:
            partition.is_paused = False
            self._consumer.resume([TopicPartition(self._topic, number)])
        deadline = time.monotonic() + SILENCE_S
        while not partition.records and not partition.is_at_end:
            if self._poll():
                deadline = time.monotonic() + SILENCE_S
            elif time.monotonic() > deadline:
                raise self._unavailable(self._trouble)
        return bool(partition.records)

    def _poll(self) -> bool:
        """Take what the broker sends next; True if it has sent anything."""
        message = self._consumer.poll(POLL_S)
        if message is None:
            return False
        error = message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the name of a public constant
            self._note(message, is_end=error is not None)
            return True
        if error.fatal() or not _is_of_the_moment(error):
            raise self._unavailable(error)
        self._trouble = error
        return False

    def _unavailable(self, error: KafkaError | None) -> Unavailable:
        return Unavailable("broker", self._said.why(error, f"topic {self._topic}") if error else "")

    def _note(self, message: Message, *, is_end: bool) -> None:
        number = message.partition() or 0
        partition = self._partitions[number]
        if is_end:
            partition.is_at_end = True
        else:
            partition.add(_record(message))
        if (partition.is_full or partition.is_at_end) and not partition.is_paused:
            partition.is_paused = True
            self._consumer.pause([TopicPartition(self._topic, number)])


class _Partition:
    """A partition that is read: the records that wait to be taken, and whether more are to come."""

    def __init__(self, span: range) -> None:
        self.span = span
        self.records: deque[Record] = deque()
        self.is_at_end = False
        self.is_paused = False
        self._bytes = 0
        self._next = span.start

    @property
    def is_full(self) -> bool:
        """True if as many records wait as may."""
        return len(self.records) >= MOST_RECORDS or self._bytes >= MOST_BYTES

    def add(self, record: Record) -> None:
        """Let a record wait, unless it is behind the span, or waited before: a resumed partition may come again."""
        if self._next <= record.offset < self.span.stop:
            self.records.append(record)
            self._bytes += len(record.value)
            self._next = record.offset + 1
        self.is_at_end = self.is_at_end or record.offset + 1 >= self.span.stop

    def take(self) -> Record:
        """Return the next record."""
        record = self.records.popleft()
        self._bytes -= len(record.value)
        return record


def _is_of_the_moment(error: KafkaError) -> bool:
    """True if the client goes on by itself after this error."""
    return error.retriable() or error.code() in GOES_ON


def _record(message: Message) -> Record:
    return Record(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        timestamp_ms=message.timestamp()[1],
        key=message.key() or b"",
        value=message.value() or b"",
    )
