"""Records appended as they are, in their order, by one producer that waits for the broker."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from operators.connectors.kafka.log import producer_config
from operators.errors import Unavailable
from operators.store.ports import Position
from schemas.settings.servers import BrokerSettings

# A record that the broker refuses for itself, whatever the moment.
REFUSED = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError.INVALID_MSG)
POLL_S = 0.2


@dataclass(frozen=True)
class RawRecord:
    """A record to append: its topic, and its key and value as bytes."""

    topic: str
    key: bytes
    value: bytes


class RecordSender:
    """Appends portions of records; a portion is in the producer's queue, and so in memory, until it is acknowledged."""

    def __init__(self, settings: BrokerSettings) -> None:
        config = producer_config(settings)
        self._said = config["logger"]
        self._producer = Producer(config)

    def send(
        self, records: Sequence[RawRecord], reported: Callable[[int, Position | None], None] = lambda *_: None
    ) -> tuple[Position | None, ...]:
        """Append records in this order; return their positions, None for one that the broker can never take.

        `reported` is called with the number and the position of each record as soon as the broker has answered for it.
        Raises Unavailable when the broker does not acknowledge all of them within `produce_s`: some may be appended.
        """
        reports: dict[int, Position | KafkaError] = {}

        def note(number: int, error: KafkaError | None, message: Message | None) -> None:
            if error is None and message is not None:
                reports[number] = position = Position(message.partition() or 0, message.offset() or 0)
                reported(number, position)
            elif error is not None:
                reports[number] = error
                if error.code() in REFUSED:
                    reported(number, None)

        for number, record in enumerate(records):
            self._queue(record, partial(note, number))
        while len(reports) < len(records):
            # Short waits, so that Ctrl-C is heard; the producer reports a record that is overdue as failed.
            self._producer.poll(POLL_S)
        return tuple(self._position(reports[number], record.topic) for number, record in enumerate(records))

    def _queue(self, record: RawRecord, on_delivery: "partial[None]") -> None:
        while True:
            try:
                self._producer.produce(record.topic, record.value, record.key, on_delivery=on_delivery)
            except BufferError:
                self._producer.poll(POLL_S)
            except KafkaException as error:
                if error.args[0].code() not in REFUSED:
                    raise self._unavailable(error.args[0], record.topic) from error
                on_delivery(error.args[0], None)
                return
            else:
                return

    def _position(self, report: Position | KafkaError, topic: str) -> Position | None:
        if isinstance(report, Position):
            return report
        if report.code() in REFUSED:
            return None
        raise self._unavailable(report, topic)

    def _unavailable(self, error: KafkaError, topic: str) -> Unavailable:
        return Unavailable("broker", self._said.why(error, f"topic {topic}"))
