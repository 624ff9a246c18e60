"""The facts of a study's revision for analysts, without patient data, and the flush that sends them.

They are made from the event study-settled alone, and sent beside it: whatever sends or repeats that event, after a crash
or a replay, sends or repeats these facts.
"""

import hashlib
import hmac
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from operators.deidentify.codes import BODY_PARTS, MODALITIES, known
from operators.stream.step import Flushed, FlushFunction, Output, Record
from schemas.events import SeriesFacts, SettledSeries, StudyFacts, StudySettled, event_id
from schemas.topics import STUDY_FACTS

# A size to the byte would tell a study from all others, to anybody who holds a copy of it.
DIGITS = 3


def with_study_facts(flush: FlushFunction, key: bytes) -> FlushFunction:
    """Return a flush that sends, after each study-settled, the facts of its revision under a pseudonym of this key."""

    def flush_with_facts(shard: int, head: bytes | None, records: tuple[Record, ...], now: float) -> Flushed:
        flushed = flush(shard, head, records, now)
        return replace(flushed, outputs=tuple(_with_facts(flushed.outputs, key)))

    return flush_with_facts


def _with_facts(outputs: Iterable[Output], key: bytes) -> Iterator[Output]:
    for output in outputs:
        yield output
        if isinstance(output.event, StudySettled):
            yield Output(STUDY_FACTS, study_facts(output.event, key))


def study_facts(settled: StudySettled, key: bytes) -> StudyFacts:
    """Return the facts of a revision; made from its event alone, they are the same each time.

    Nothing in them can be traced to another topic without the key: no UID, no digest, no version, no id of a cause.
    """
    name = pseudonym(settled.tenant, settled.study_uid, key)
    return StudyFacts(
        event_id=event_id(settled.tenant, name, "facts", str(settled.version)),
        tenant=settled.tenant,
        occurred_at=hour(settled.occurred_at),
        pseudonym=name,
        revision=settled.revision,
        instances=settled.instances,
        size_bytes=rounded(settled.size_bytes),
        series=series_facts(settled.series),
        series_truncated=settled.series_truncated,
    )


def pseudonym(tenant: str, study_uid: str, key: bytes) -> str:
    """Return the HMAC-SHA256, in hex, of a study under this key: the same UID has another one in another tenant."""
    return hmac.new(key, f"{tenant}/{study_uid}".encode(), hashlib.sha256).hexdigest()


def series_facts(series: Iterable[SettledSeries]) -> tuple[SeriesFacts, ...]:
    """Return how many series and instances there are of each modality and body part, sorted by these."""
    counts: Counter[tuple[str | None, str | None]] = Counter()
    instances: Counter[tuple[str | None, str | None]] = Counter()
    for one in series:
        codes = (known(one.modality, MODALITIES), known(one.body_part, BODY_PARTS))
        counts[codes] += 1
        instances[codes] += one.instances
    ordered = sorted(counts, key=lambda codes: tuple(code or "" for code in codes))
    return tuple(SeriesFacts(*codes, series=counts[codes], instances=instances[codes]) for codes in ordered)


def hour(moment: datetime) -> datetime:
    """Return the beginning of a moment's hour."""
    return moment.replace(minute=0, second=0, microsecond=0)


def rounded(size_bytes: int) -> int:
    """Return a size rounded to three digits."""
    return round(size_bytes, DIGITS - len(str(size_bytes)))
