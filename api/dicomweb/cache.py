"""Finished header JSON, kept while it is asked for: a viewer asks for the same series again and again."""

from collections import OrderedDict

# Larger ones are rare, and would push out many.
LARGEST_SHARE = 16


class Kept:
    """Bytes by key, the least lately used dropped first; all together at most so many bytes."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held: OrderedDict[tuple[str, ...], bytes] = OrderedDict()
        self.size_bytes = 0

    def get(self, key: tuple[str, ...]) -> bytes | None:
        """Return what is kept under this key."""
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def put(self, key: tuple[str, ...], value: bytes) -> None:
        """Keep this, unless it is larger than its share."""
        if len(value) * LARGEST_SHARE > self._most_bytes or key in self._held:
            return
        self._held[key] = value
        self.size_bytes += len(value)
        while self.size_bytes > self._most_bytes:
            _, dropped = self._held.popitem(last=False)
            self.size_bytes -= len(dropped)
