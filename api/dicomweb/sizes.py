"""Sizes that several retrievals share."""

# The most objects or ranges that a request reads at a time, each with at most reading.CHECKED_FIRST_BYTES in memory.
AHEAD = 3
# The longest part of a header that is read: only a value too large for metadata (a document) makes a header longer.
HEADER_BYTES = 16 * 2**20
# Tag, VR, two reserved bytes and length in explicit VR, as before all encapsulated pixels (PS3.5 A.4).
PIXEL_HEADER_BYTES = 12
