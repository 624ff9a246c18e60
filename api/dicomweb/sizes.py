"""Sizes that the retrievals share."""

# Pieces that are fetched ahead of the one that goes out, each at most reading.CHECKED_FIRST_BYTES in memory.
AHEAD = 3
# At most this much of a header is read: what is cut off is one value too large for metadata (a video, a document).
HEADER_BYTES = 16 * 2**20
# Explicit VR's tag, VR, two reserved bytes and length: encapsulated pixels have no other header (PS3.5 A.4).
PIXEL_HEADER_BYTES = 12
