"""Follow studies through a running stack: sent, settled, fetched back, added to, deleted, restored, and their history told."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.commands.studies.history import latest, lines
from deploy.demo import sending, verification
from deploy.demo.commanding import give
from deploy.demo.dicomweb import Archive
from deploy.demo.settled import SettledWatch
from deploy.demo.stopwatch import Stopwatch
from deploy.demo.study import StudyFile
from deploy.errors import Failed
from deploy.local.report import dicomweb_url, say
from deploy.local.running import RunningStack, wait_until
from operators.catalog.history.entries import History
from operators.connectors.postgres.queries import PostgresQueries
from schemas.events import StudySettled

# The settled event may come this long after the study's quiet time, or after the answer to a command.
SETTLED_S = 30.0
DELETE_BECAUSE = "the demo shows that a study can be deleted"
RESTORE_BECAUSE = "the demo shows that nothing was lost"
HISTORY_MOST = 50
HISTORY = "The history of the study, as `.venv/bin/python -m deploy.commands studies history {}` prints it:"


def follow(stack: RunningStack, own: Path, files: Sequence[StudyFile], stopwatch: Stopwatch) -> None:
    """Send the files, one of them late, and follow them to the end; raises Failed when a step fails.

    The study of the late image, or else of the first file, is deleted and restored. Links to the files are made in the
    folder `own`.
    """
    late = late_image(files)
    study_uid = (late or files[0]).study_uid
    with SettledWatch(stack.plan.broker) as watch:
        following = Following(stack, own, Archive(dicomweb_url(stack.plan)), watch, stopwatch)
        if late:
            say(f"          one image of study {study_uid} is kept back, so that it comes late")
        following.send_first([file for file in files if file is not late])
        if late:
            following.send_late(late, files)
        following.fetch(files)
        following.delete_and_restore(study_uid)
    say("\n".join(["", HISTORY.format(study_uid), "", *history(stack, study_uid)]))


def late_image(files: Sequence[StudyFile]) -> StudyFile | None:
    """Return the last file without which its study has still another instance; None where no study has two."""
    instances = Counter((file.study_uid, file.sop_uid) for file in files)
    studies = Counter(study_uid for study_uid, _ in instances)
    alone = (file for file in reversed(files) if instances[file.study_uid, file.sop_uid] == 1)
    return next((file for file in alone if studies[file.study_uid] > 1), None)


def link(files: Iterable[StudyFile], folder: Path) -> Path:
    """Make a folder with a link to each of these files, in their order, and return it."""
    folder.mkdir()
    for number, file in enumerate(files):
        (folder / f"{number:06}.dcm").symlink_to(file.path.absolute())
    return folder


def history(stack: RunningStack, study_uid: str) -> list[str]:
    """Return the lines of a study's history, as the operators' command prints them."""

    async def read() -> History:
        async with PostgresQueries(stack.catalog("reader")) as queries:
            return await latest(queries, stack.plan.api.tenant, study_uid, HISTORY_MOST)

    return [line for entry in asyncio.run(read()).entries for line in lines(entry)]


@dataclass(frozen=True)
class Following:
    """The steps on a running stack, each of which prints a line; every method raises Failed when its step fails.

    Folders that are sent are made in `own`.
    """

    stack: RunningStack
    own: Path
    archive: Archive
    watch: SettledWatch
    stopwatch: Stopwatch

    def send_first(self, files: Sequence[StudyFile]) -> None:
        """Send files, and wait until their studies are found and settled."""
        rate = sending.send(self.stack, link(files, self.own / "first"), files)
        self.stopwatch.print(f"{len(files)} of {len(files)} acknowledged{rate}")
        study_uids, count = {file.study_uid for file in files}, verification.wait_queryable(self.archive, files)
        self.stopwatch.print(f"queryable by QIDO-RS: {count} instances, studies: {len(study_uids)}")
        for event in self.watch.wait(study_uids, self.settled_s):
            say_settled(event)
        self.stopwatch.print("settled")

    def send_late(self, late: StudyFile, files: Sequence[StudyFile]) -> None:
        """Send a late image of a study, all of whose files are among `files`, and wait until the study is settled again."""
        sending.send(self.stack, link([late], self.own / "late"), [late])
        say(f"          one more image of study {late.study_uid} has come late")
        verification.wait_queryable(self.archive, files)
        instances = verification.counted(self.archive, late.study_uid)
        say_settled(self.watch.until(late.study_uid, instances, self.settled_s))
        self.stopwatch.print("settled again, with the late image")

    def fetch(self, files: Sequence[StudyFile]) -> None:
        """Fetch a frame and then everything, and compare them with the files."""
        self.stopwatch.print(verification.check_frame(self.archive, files))
        verification.check_instances(self.archive, files)
        self.stopwatch.print(
            f"everything fetched back by WADO-RS and equal, data set for data set: {len(files)} instances"
        )

    def delete_and_restore(self, study_uid: str) -> None:
        """Delete a study until it is not found any more, and restore it until it is found as before."""
        instances = verification.counted(self.archive, study_uid)
        give(self.stack.api_url, study_uid, "delete", DELETE_BECAUSE)
        still_found = f"the deleted study {study_uid} is still found"
        wait_until(lambda: not self.archive.find(study_uid), SETTLED_S, still_found)
        if self.archive.is_served(study_uid):
            raise Failed(f"the deleted study {study_uid} is still served")
        say_settled(self.watch.until(study_uid, 0, SETTLED_S))
        self.stopwatch.print("deleted by a command: the study is not found any more, and none of its images is served")
        give(self.stack.api_url, study_uid, "restore", RESTORE_BECAUSE)
        verification.wait_counted(self.archive, study_uid, instances)
        say_settled(self.watch.until(study_uid, instances, SETTLED_S))
        self.stopwatch.print(f"restored by a command: the study is found again, with its {instances} instances")

    @property
    def settled_s(self) -> float:
        """Return within how many seconds of its last instance a study must be settled."""
        return self.stack.plan.study.quiet_open_s + SETTLED_S


def say_settled(event: StudySettled) -> None:
    """Print a line about a revision."""
    say(f"          settled by signal {event.signal}: revision {event.revision}, {event.instances} instances")
