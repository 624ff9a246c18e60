"""The messages between a pool and a decoding process: jobs on standard input, answers on standard output."""

import struct

# A job begins with a nonce that its answer repeats. Decoders run on untrusted bytes: an answer without the nonce may
# have been forged by a frame, and is not accepted.
NONCE_BYTES = 16
# The nonce of the message that a process sends once it is ready for jobs.
READY = bytes(NONCE_BYTES)
# A job: nonce, then the sizes (little endian) of its JSON, its header and its frame, which follow in this order.
JOB = struct.Struct(f"<{NONCE_BYTES}sIQQ")
# An answer: nonce, then the sizes (little endian) of the reason and the picture, which follow; one of them is empty.
ANSWER = struct.Struct(f"<{NONCE_BYTES}sIQ")
