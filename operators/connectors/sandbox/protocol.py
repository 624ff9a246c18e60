"""The messages between a pool and a decoding process: jobs on standard input, answers on standard output."""

import struct

# A job begins with a nonce that its answer repeats. Decoders run on foreign bytes: an answer without the nonce was
# made by none of our code, and is the answer to no job.
NONCE_BYTES = 16
# The nonce of the answer with which a process says that it is ready for jobs.
READY = bytes(NONCE_BYTES)
# Nonce, then little-endian the sizes of the job's JSON, of its header and of its frame, which follow in this order.
JOB = struct.Struct(f"<{NONCE_BYTES}sIQQ")
# Nonce, then little-endian the sizes of the reason and of the picture, which follow; one of the two is empty.
ANSWER = struct.Struct(f"<{NONCE_BYTES}sIQ")
