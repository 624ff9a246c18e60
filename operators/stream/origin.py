"""Where the records of a job come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Origin:
    """The present ids of a job's topics, and its first offsets when it has no state.

    Without offsets it begins at the earliest records. Offsets, if there are any, name every partition, by (topic,
    partition): what lies before them was handled before, and so were the versions up to that in `announced`, by shard.
    """

    topic_ids: Mapping[str, str] = field(default_factory=dict)
    offsets: Mapping[tuple[str, int], int] = field(default_factory=dict)
    announced: Mapping[int, int] = field(default_factory=dict)
