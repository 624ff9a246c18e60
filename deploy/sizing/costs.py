"""What the archive's parts cost, as measured on one machine of 2 cores: CPU by instance and byte, and bytes on disks.

docs/sizing.md says how each figure was measured. They are of a machine whose servers share two cores, so that caches are
cold; servers of one's own cost less.
"""

from dataclasses import dataclass

GB = 1e9


@dataclass(frozen=True)
class CostlyPart:
    """A part that a received instance passes: its CPU for each instance (ms) and for each GB (s).

    The sender waits for its answer until a `synchronous` part has done its work; the others work on a topic.
    """

    name: str
    per_instance_ms: float
    per_gb_s: float
    synchronous: bool

    def core_seconds(self, instances: float, size_bytes: float) -> float:
        """Return the CPU seconds for these instances."""
        return self.per_instance_ms / 1000 * instances + self.per_gb_s * size_bytes / GB


GATEWAY = CostlyPart("gateway", 2.3, 2.9, synchronous=True)
STORE = CostlyPart("object store", 4.3, 3.1, synchronous=True)
BROKER = CostlyPart("Kafka", 1.6, 0.0, synchronous=True)
JOBS = CostlyPart("Flink jobs", 2.2, 0.0, synchronous=False)
DATABASE = CostlyPart("PostgreSQL", 0.7, 0.0, synchronous=False)
PARTS = (GATEWAY, STORE, BROKER, JOBS, DATABASE)

# CPU for each GB of whole series that viewers read, 250 CT slices in a request.
READ_PER_GB_S = {"web origin": 3.6, "object store": 3.1}

# A sender over one association waits for each answer before it sends the next instance.
ASSOCIATION_MS = 5.0
ASSOCIATION_BYTES_PER_S = 60e6

# A shard of the catalog job writes so many records a second while a full topic waits for it.
SHARD_RECORDS_PER_S = 840.0
# From answer to found for a lone record: a fetch waits, then a flush.
LONE_RECORD_S = 0.12

# Bytes on disk for each instance: in all topics, in the tables and their indexes, and of the object beside its own bytes.
TOPIC_BYTES = 1_500
ROW_BYTES = 2_000
OBJECT_BYTES = 14_000
