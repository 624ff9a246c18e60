"""A Kafka broker inside librdkafka, and the faults that it can be given: no server is started."""

import ctypes
from pathlib import Path
from typing import Any

import confluent_kafka
from confluent_kafka import Producer

(LIBRARY,) = (Path(confluent_kafka.__file__).parent.with_name("confluent_kafka.libs")).glob("librdkafka*")
RDKAFKA = ctypes.CDLL(str(LIBRARY))
RDKAFKA.rd_kafka_test_fatal_error.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p]
RDKAFKA.rd_kafka_handle_mock_cluster.argtypes = [ctypes.c_void_p]
RDKAFKA.rd_kafka_handle_mock_cluster.restype = ctypes.c_void_p
RDKAFKA.rd_kafka_mock_cluster_bootstraps.argtypes = [ctypes.c_void_p]
RDKAFKA.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
RDKAFKA.rd_kafka_mock_push_request_errors_array.argtypes = [
    ctypes.c_void_p,
    ctypes.c_int16,
    ctypes.c_size_t,
    ctypes.POINTER(ctypes.c_int),
]
RDKAFKA.rd_kafka_mock_broker_set_rtt.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
# Two words of a Python object come before the client's handle.
HANDLE_OFFSET = 2 * ctypes.sizeof(ctypes.c_void_p)
INVALID_PRODUCER_EPOCH = 47
# The number of the request for a group's offsets.
OFFSET_FETCH = 9


class MockKafka:
    """A cluster of one broker, which lives as long as this object; it creates each topic that is asked for."""

    def __init__(self) -> None:
        self._owner = Producer({"test.mock.num.brokers": 1, "log_level": 3})
        self._cluster = RDKAFKA.rd_kafka_handle_mock_cluster(handle(self._owner))
        self.bootstrap = RDKAFKA.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()

    def answer_after(self, milliseconds: int) -> None:
        """Delay every answer of the broker from now on."""
        assert RDKAFKA.rd_kafka_mock_broker_set_rtt(self._cluster, 1, milliseconds) == 0

    def fail_offset_fetches(self, *codes: int) -> None:
        """Answer the next requests for a group's offsets by these errors, one each."""
        errors = (ctypes.c_int * len(codes))(*codes)
        RDKAFKA.rd_kafka_mock_push_request_errors_array(self._cluster, OFFSET_FETCH, len(codes), errors)


def handle(client: Any) -> int | None:
    """Return the address of librdkafka's own client within a client of confluent_kafka."""
    return ctypes.c_void_p.from_address(id(client) + HANDLE_OFFSET).value


def break_for_good(producer: Producer) -> None:
    """Raise a fatal error in a producer, as librdkafka itself does when a broker says that it was replaced."""
    assert RDKAFKA.rd_kafka_test_fatal_error(handle(producer), INVALID_PRODUCER_EPOCH, b"a test") == 0
