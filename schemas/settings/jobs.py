"""How the Flink jobs run, and when the study job finds a study due."""

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from schemas.settings.reading import PORT, Rule, one_of, setting

_QUIET = re.compile(r"([A-Z0-9]+=[0-9]+(\.[0-9]+)?(,|$))*")
QUIET = Rule(lambda pairs: _QUIET.fullmatch(pairs) is not None, "modalities with seconds, such as CT=120,MR=120")


@dataclass(frozen=True)
class StudySettings:
    """How long after each kind of event a study is due, in seconds."""

    section = "STUDY"
    # After the transfers that carried its instances ended well.
    released_s: float = setting(5.0, least=0)
    # After its latest instance: by default, by modality, and while a transfer that carried it is still open.
    quiet_s: float = setting(60.0, least=0)
    quiet_by_modality: str = setting("CT=120,MR=120,US=300", rule=QUIET)
    quiet_open_s: float = setting(300.0, least=0)
    # After its first instance, even if more keep coming. Commands are remembered for as long, and an expectation waits so
    # long for the first instance.
    limit_s: float = setting(6 * 3600.0, least=1)

    def quiet(self, modality: str | None) -> float:
        """Return the quiet time of a modality, in seconds."""
        return _seconds_by_modality(self.quiet_by_modality).get(modality or "", self.quiet_s)


@cache
def _seconds_by_modality(text: str) -> dict[str, float]:
    pairs = (pair.split("=", 1) for pair in text.split(",") if pair)
    return {name: float(seconds) for name, seconds in pairs}


# Study Instance UIDs are known to many: whoever could try all keys would find the study of each pseudonym.
KEY_LENGTH = 32
KEY = Rule(
    lambda key: not key or len(key) >= KEY_LENGTH, f"at least {KEY_LENGTH} characters, as openssl rand -hex 32 prints"
)


@dataclass(frozen=True)
class FactsSettings:
    """The topic study-facts, for analysts: without a key nothing is sent to it."""

    section = "FACTS"
    # The key of the HMAC that makes a study's pseudonym of its UID: another key makes other pseudonyms.
    key: str = setting("", secret=True, rule=KEY)


@dataclass(frozen=True)
class JobSettings:
    """How the Flink jobs run."""

    section = "JOB"
    checkpoint_dir: Path = setting(Path(".data/checkpoints"))
    checkpoint_s: float = setting(10.0, least=0.1)
    parallelism: int = setting(1, least=1, most=128)
    # The shards of a job that writes in batches: 1, or several times the parallelism, since Flink assigns shards by hash
    # (DECISIONS 18).
    shards: int = setting(1, least=1, most=128)
    # How Flink runs the Python of such a job: in the JVM, which costs least but leaves all its subtasks there one core, or
    # in worker processes of their own, for a machine of many cores (DECISIONS 58).
    python_mode: str = setting("thread", rule=one_of("thread", "process"))
    # Records are handed to Python in batches of so many, and of what comes in so many seconds.
    batch_records: int = setting(500, least=1)
    batch_s: float = setting(0.01, least=0.001)
    # A job stops for good when this many records in a row were rejected, or more than this share of the last 10,000.
    rejected_in_a_row: int = setting(1000, least=1)
    rejected_share: float = setting(0.01, least=0, most=1)
    rest_port: int = setting(8081, **PORT)
    # The launcher serves its metrics at this port, and Flink at the next one; 0: neither does.
    metrics_port: int = setting(0, **PORT)
    # The file in which a test names the point of a flush at which the process of the catalog job kills itself: before_flush,
    # before_commit or after_commit.
    failpoint_file: str = setting("", tests=True)

    @property
    def flink_metrics_port(self) -> int:
        """The port at which Flink serves its metrics beside the launcher's; 0 without any."""
        return self.metrics_port and self.metrics_port + 1

    def with_shards(self, shards: int) -> "JobSettings":
        """Return these settings with another number of shards."""
        return replace(self, shards=shards)


@dataclass(frozen=True)
class BatchSettings:
    """How the batch pipelines run."""

    section = "BATCH"
    # A folder for each run, in which its workers note what is finished.
    runs_dir: Path = setting(Path(".data/batch"))
    # How many requests to the store each worker has under way at a time.
    at_once: int = setting(32, least=1, most=1000)
