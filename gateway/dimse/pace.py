"""The times and rates of one connection: its last activity, its speed, and the limits that it exceeds."""

from collections.abc import Callable

from schemas.settings.dimse import DimseSettings

CHECK_S = 1.0


class Pace:
    """Records when one connection last sent bytes, and how many; no I/O, and the caller provides the clock.

    An association is idle between its messages, stalled between PDUs within a message or before its first message, and
    silent or slow within a PDU. It is productive while it sends data sets at a fair rate: commands do not count.
    """

    def __init__(self, settings: DimseSettings, clock: Callable[[], float]) -> None:
        # True once the association has begun to send a data set.
        self.has_begun_data_set = False
        # Bytes of data sets since the last `measure`.
        self.data_bytes = 0
        self._settings = settings
        self._clock = clock
        self._idle_s = settings.idle_s
        self._completed_pdus = 0
        self._connected_at = self._last_byte_at = self._pdu_began_at = self._measured_at = clock()
        # None while a data set is being stored, for then the peer waits for us.
        self._productive_at: float | None = self._connected_at

    @property
    def check_s(self) -> float:
        """Return how often the limits need to be checked, in seconds."""
        settings = self._settings
        limits_s = (settings.associate_s, settings.silence_s, settings.stall_s, settings.yield_s, self._idle_s)
        return min(CHECK_S, *(limit_s / 4 for limit_s in limits_s))

    # Events.

    def associated(self, idle_s: float) -> None:
        """Note that the association is accepted, with the idle time of its peer."""
        self._idle_s = idle_s
        self._productive_at = self._clock()

    def received(self, completed_pdus: int, *, was_between_pdus: bool) -> None:
        """Note that bytes arrived; the connection has sent `completed_pdus` complete PDUs so far."""
        self._last_byte_at = self._clock()
        if was_between_pdus or completed_pdus != self._completed_pdus:
            self._completed_pdus = completed_pdus
            self._pdu_began_at = self._last_byte_at

    def data_set_received(self) -> None:
        """Note that a whole data set arrived."""
        if self._productive_at is not None:
            self._productive_at = self._clock()

    def store_began(self) -> None:
        """Note that the peer waits for us while its data set is stored."""
        self._productive_at = None

    def store_ended(self) -> None:
        """Note that the data set is stored, or refused."""
        self._productive_at = self._clock()

    def peers_turn_began(self) -> None:
        """Note that the peer can send again, for it got an answer or is read again: its silence counts from now."""
        self._last_byte_at = self._clock()

    def measure(self) -> None:
        """Compare the data that arrived since the last measurement with the slowest fair rate."""
        now = self._clock()
        is_fair = self.data_bytes > self._settings.slowest_bytes_per_s * (now - self._measured_at)
        if is_fair and self._productive_at is not None:
            self._productive_at = now
        self._measured_at, self.data_bytes = now, 0

    # Questions.

    def unproductive_s(self) -> float | None:
        """Return for how many seconds less than a fair rate arrived; None while a data set is being stored."""
        return None if self._productive_at is None else self._clock() - self._productive_at

    def is_associate_overdue(self) -> bool:
        """True if the association request should have arrived by now."""
        return self._clock() - self._connected_at > self._settings.associate_s

    def overdue(self, pdu_bytes: int | None, *, is_between_messages: bool) -> str | None:
        """Return the name of the limit that an association exceeds; None if it exceeds none.

        `pdu_bytes` is how many bytes of the present PDU have arrived, None between PDUs.
        """
        silent_s = self._clock() - self._last_byte_at
        if pdu_bytes is None:
            reason, limit_s = self._limit_between_pdus(is_between_messages=is_between_messages)
            return reason if silent_s > limit_s else None
        if silent_s > self._settings.silence_s:
            return "silent"
        return "slow" if self._is_slow(self._clock() - self._pdu_began_at, pdu_bytes) else None

    def _limit_between_pdus(self, *, is_between_messages: bool) -> tuple[str, float]:
        """Return the name of the limit for the wait for the next PDU, and the limit in seconds."""
        # With one complete PDU, the association request, the first message has not begun.
        if self._completed_pdus > 1 and is_between_messages:
            return "idle", self._idle_s
        return "stalled", min(self._settings.stall_s, self._idle_s)

    def _is_slow(self, elapsed_s: float, pdu_bytes: int) -> bool:
        return elapsed_s > self._settings.silence_s and pdu_bytes < self._settings.slowest_bytes_per_s * elapsed_s
