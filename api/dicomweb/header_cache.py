"""Finished header JSON, kept in memory: a viewer asks for the same series again and again."""

from collections import OrderedDict

# A value of more than this share of the whole is not kept: it is rare, and would push out many others.
LARGEST_SHARE = 16


class HeaderCache:
    """Bytes by key, at most `most_bytes` in all; the least recently used go first."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._values: OrderedDict[tuple[str, ...], bytes] = OrderedDict()
        self.size_bytes = 0

    def get(self, key: tuple[str, ...]) -> bytes | None:
        """Return the value of a key, None when it is not kept."""
        found = self._values.get(key)
        if found is not None:
            self._values.move_to_end(key)
        return found

    def put(self, key: tuple[str, ...], value: bytes) -> None:
        """Keep a value, unless its key has one or it is larger than its share."""
        if len(value) * LARGEST_SHARE > self._most_bytes or key in self._values:
            return
        self._values[key] = value
        self.size_bytes += len(value)
        while self.size_bytes > self._most_bytes:
            _, dropped = self._values.popitem(last=False)
            self.size_bytes -= len(dropped)
