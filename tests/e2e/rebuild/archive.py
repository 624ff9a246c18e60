"""An archive with everything that rebuild must know: conflicts, decisions, a lost transfer, quarantined contents, policies."""

import asyncio
import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from psycopg import sql

from deploy.commands.stow import store_file
from deploy.local.report import dicomweb_url
from deploy.local.running import RunningStack, wait_until
from operators.connectors.postgres.connecting import connect
from operators.connectors.s3.store import S3ObjectStore
from operators.dicom.instance import data_hasher
from operators.dicom.part10 import part10_prefix, split_part10
from schemas.objects import Bucket
from schemas.settings.reading import load
from schemas.settings.servers import StoreSettings
from tests.audit.ledger import Ledger, Line
from tests.bench.latency import line
from tests.support.data.generate import Volume, files, instances
from tests.support.machine.running_stack import processes_of
from tests.support.machine.study_commands import run_on_stack
from tests.support.rebuilt.told import Dump, Row
from tests.support.senders.commanding import give
from tests.support.senders.scu import AssociationLost, associated
from tests.support.senders.sender import Peer, send
from tests.support.senders.stow import Door, stow
from tests.support.worlds.reading import part10

SOON_S = 60.0
WHY = ("--why", "a test")
MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"
# Tables that say how far jobs have read and which steps of the DDL are applied, not what is in the archive.
PROGRESS = ("applied_offset", "waiting_due", "shard_progress", "applied_ddl")


def fill(stack: RunningStack, ledger: Ledger, folder: Path) -> None:
    """Fill an archive through its doors, and wait until each study is settled."""
    send(files(Volume(studies=4, slices=6, size=32, seed=77), folder), Peer(stack.dimse_port), ledger)
    _conflict(stack, ledger, folder)
    _quarantine(stack, ledger, folder)
    _policies(stack, folder)
    studies = sorted({row["study_uid"] for row in rows(stack, "study")})
    for study_uid, actions in zip(studies, (("delete",), ("hold",), ("delete", "restore")), strict=False):
        for action in actions:
            give(stack.api_url, study_uid, action)
    _lose_a_transfer(stack, ledger)


def _file(study: str, number: int, **elements: Any) -> bytes:
    uids: dict[str, Any] = {"SeriesInstanceUID": f"{study}.1", "SOPInstanceUID": f"{study}.1.{number}"}
    return part10(StudyInstanceUID=study, **uids, **elements)


def _conflict(stack: RunningStack, ledger: Ledger, folder: Path) -> None:
    """Store two contents of one instance, the first one twice, and choose the later one; a second conflict is left."""
    for study in ("1.2.83", "1.2.84"):
        for name in ("P1", "P2", "P1"):
            path = folder / f"{study}-{name}.dcm"
            path.write_bytes(_file(study, 1, PatientID=name))
            stow([path], Door(stack.api_url), ledger)
    wait_until(lambda: len(rows(stack, "conflict")) == 2, SOON_S, "there is no conflict")
    (lost,) = [row for row in rows(stack, "conflict") if row["study_uid"] == "1.2.83"]
    give(stack.api_url, "1.2.83", "choose", instance=lost["sop_uid"], content=lost["data_hash"])


def _quarantine(stack: RunningStack, ledger: Ledger, folder: Path) -> None:
    """Let three contents be refused: one is held, one was released, one discarded."""
    bad = [_file("1.2.85", number).replace(b"1.2.85.1.", b"1.2/85.1.") for number in (1, 2)]
    file = _file("1.2.86", 1)
    mismatch = part10_prefix(MR, "1.2.86.1.1", EXPLICIT) + file[split_part10(file).prefix_length :]
    for each in (*bad, mismatch):
        _refused(each, dicomweb_url(stack.plan), ledger)
    wait_until(lambda: len(rows(stack, "quarantine")) == 3, SOON_S, "three contents are not in quarantine")
    by_reason = {row["reason"]: row["data_hash"] for row in rows(stack, "quarantine")}
    discarded = next(row["data_hash"] for row in rows(stack, "quarantine") if row["reason"] == "no-usable-uid")
    assert run_on_stack(stack, "quarantine", "discard", discarded, "--yes", *WHY).returncode == 0
    assert run_on_stack(stack, "quarantine", "release", by_reason["sop-class-mismatch"], *WHY).returncode == 0
    released = folder / "released.dcm"
    released.write_bytes(file)
    # The same content with the file meta that it should have had: a repeat of what was released.
    stow([released], Door(stack.api_url), ledger)


def _refused(data: bytes, base: str, ledger: Ledger) -> None:
    """Send what will be refused; the ledger has its content, and no answer, since what is discarded leaves no row."""
    meta = split_part10(data)
    content = data_hasher(meta.transfer_syntax)
    content.update(data[meta.prefix_length :])
    ledger.plan([Line("planned", "local", "", "", "", content.hexdigest(), meta.transfer_syntax)])
    store_file(base, b"", memoryview(data))


def _policies(stack: RunningStack, folder: Path) -> None:
    for number in ("1", "2"):
        rules = {"rules": [{"name": "all", "then": {"model": "m", "version": number}}]}
        (folder / "rules.json").write_text(json.dumps(rules))
        put = run_on_stack(stack, "policies", "put", "inference", "all", str(folder / "rules.json"), *WHY)
        assert put.returncode == 0, put.stderr


def _lose_a_transfer(stack: RunningStack, ledger: Ledger) -> None:
    """Kill the gateway while an association is open that has stored an instance."""
    before = stack.state().servers["gateway"]
    (lost,) = instances(Volume(slices=1, size=32, seed=78))
    ledger.plan([line(lost)])
    peer = Peer(stack.dimse_port)
    with suppress(OSError, AssociationLost), associated(peer, lost.sop_class, lost.transfer_syntax) as association:
        ledger.answer(line(lost), "acked", f"{association.store(lost):04X}")
        for process in processes_of(stack, "gateway"):
            os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: stack.has_changed("gateway", before), SOON_S, "the gateway's end is not noticed")
    stack.wait_healthy("gateway")


def rows(stack: RunningStack, table: str) -> list[Row]:
    """Return the rows of a table, in any order."""
    query = sql.SQL("SELECT to_jsonb(t) FROM {} t").format(sql.Identifier(table))
    with connect(stack.catalog("writer"), "test", "") as connection:
        return [row for (row,) in connection.execute(query)]


def dump(stack: RunningStack) -> Dump:
    """Return the rows of all tables of the archive, without the progress of jobs."""
    with connect(stack.catalog("writer"), "test", "") as connection:
        named = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND NOT relispartition"
            " AND relkind IN ('r', 'p')"
        )
        names = [name for (name,) in named if name not in PROGRESS]
    return {name: sorted(rows(stack, name), key=json.dumps) for name in sorted(names)}


def named_by_objects(stack: RunningStack) -> set[tuple[str, str]]:
    """Return transfer and study of the envelope of each instance in the store."""
    return asyncio.run(_named(load(StoreSettings, stack.env)))


async def _named(settings: StoreSettings) -> set[tuple[str, str]]:
    found = set[tuple[str, str]]()
    async with S3ObjectStore(settings) as store:
        async for key in store.keys(Bucket.HOT, "local/"):
            if key.endswith(".dcm") and (stored := await store.head(Bucket.HOT, key)):
                found.add((stored.envelope.transfer_id, key.split("/")[1]))
    return found
