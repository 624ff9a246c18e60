"""A cache of headers as JSON, because viewers request the metadata of the same series again and again."""

from collections import OrderedDict

# A value larger than the cache's size divided by this is not kept: it is rare, and would displace many others.
LARGEST_SHARE = 16


class HeaderCache:
    """Values by key, at most `most_bytes` in all; the least recently used values are removed first."""

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
        """Keep a value, unless its key already has a value or it is too large (LARGEST_SHARE)."""
        if len(value) * LARGEST_SHARE > self._most_bytes or key in self._values:
            return
        self._values[key] = value
        self.size_bytes += len(value)
        while self.size_bytes > self._most_bytes:
            _, dropped = self._values.popitem(last=False)
            self.size_bytes -= len(dropped)
