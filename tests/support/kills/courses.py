"""The courses of studies while processes are killed: through which doors their instances come, and what is commanded.

A sender sends until everything is acknowledged, and an operator until each command is answered; then the course goes on.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from deploy.local.running import wait_until
from tests.audit.ledger import Ledger
from tests.support.data.generate import Instance, Volume, instances
from tests.support.senders.commanding import Given, give
from tests.support.senders.sender import Peer, meaning, send
from tests.support.senders.stow import Door, stow

# How many courses go on at the same time at most.
AT_ONCE = 16
# How many instances of a study come late, or with other content, in a course that has such.
FEW = 5
# The longest pause between two parts of a course.
PAUSE_S = 12.0
# How long a study may take to be settled while processes are killed: jobs that take half a minute to start on a busy machine
# can be killed again and again before.
SETTLED_S = 300.0


@dataclass(frozen=True)
class Doors:
    """The two doors of an archive, the ledger of all that is sent to them, and the test of a study that it was settled."""

    peer: Peer
    door: Door
    ledger: Ledger
    is_settled: Callable[[str], bool]


@dataclass
class Course:
    """One study on its way: its instances, their files, and what was commanded about it."""

    kind: str
    made: Sequence[Instance]
    folder: Path
    doors: Doors
    chance: random.Random
    given: list[Given] = field(default_factory=list)
    # The contents that operators had chosen, by SOP Instance UID: at first none, then after each choice.
    choices: list[dict[str, str]] = field(default_factory=lambda: [{}])

    @property
    def study_uid(self) -> str:
        return self.made[0].study_uid

    @property
    def sop_uids(self) -> frozenset[str]:
        """Return the instances that the archive has of the study in the end."""
        return frozenset(one.sop_uid for one in self.made)

    @property
    def is_deleted(self) -> bool:
        """True if the study is deleted in the end."""
        return self.last_given("delete", "restore") == "delete"

    @property
    def is_held(self) -> bool:
        """True if the study is on hold in the end."""
        return self.last_given("hold", "unhold") == "hold"

    def last_given(self, *actions: str) -> str:
        """Return the one of these actions that was given last; empty if none was."""
        return next((one.action for one in reversed(self.given) if one.action in actions), "")

    def dimse(self, made: Sequence[Instance]) -> None:
        tally = send(self.files(made), self.doors.peer, self.doors.ledger, self.chance.randint(1, 3))
        assert tally.complete, f"{self.study_uid}: {tally}"

    def stow(self, made: Sequence[Instance]) -> None:
        answers = stow(self.files(made), self.doors.door, self.doors.ledger, requests=2, at_once=5)
        assert {meaning(one) for one in answers.values()} == {"acked"}, f"{self.study_uid}: {answers}"

    def any_door(self, made: Sequence[Instance]) -> None:
        self.chance.choice((self.dimse, self.stow))(made)

    def both_doors(self, first: Sequence[Instance], second: Sequence[Instance]) -> None:
        """Send by C-STORE and by STOW-RS at the same time."""
        # Neither may find a file that the other is just writing.
        self.files([*first, *second])
        with ThreadPoolExecutor(2) as pool:
            for sending in (pool.submit(self.dimse, first), pool.submit(self.stow, second)):
                sending.result()

    def give(self, action: str, **arguments: Any) -> None:
        self.given.append(give(self.doors.door.url, self.study_uid, action, **arguments))

    def choose(self, contents: Sequence[Instance]) -> None:
        """Choose one of an instance's contents."""
        one = self.chance.choice(contents)
        self.give("choose", instance=one.sop_uid, content=one.data_hash)
        self.choices.append({**self.choices[-1], one.sop_uid: one.data_hash})

    def pause(self) -> None:
        """Wait, so that what follows may come before or after the study is settled."""
        time.sleep(self.chance.uniform(0, PAUSE_S))

    def wait_settled(self) -> None:
        """Wait until the study was settled once."""
        wait_until(lambda: self.doors.is_settled(self.study_uid), SETTLED_S, f"{self.study_uid} is not settled")

    def files(self, made: Sequence[Instance]) -> list[Path]:
        """Return the files of instances, which are written unless they are there."""
        paths = {self.folder / one.data_hash[:8] / one.file_name: one for one in made}
        return [path if path.exists() else one.write(path) for path, one in paths.items()]

    def others(self) -> list[Instance]:
        """Return a few of the study's instances with other content."""
        return [replace(one, pixels=one.pixels[::-1]) for one in self.chance.sample(self.made, FEW)]


def by_one_door(course: Course) -> None:
    course.any_door(course.made)


def repeated(course: Course) -> None:
    course.both_doors(course.made, course.made)


def late(course: Course) -> None:
    course.any_door(course.made[:-FEW])
    course.wait_settled()
    course.any_door(course.made[-FEW:])


def conflicting(course: Course) -> None:
    course.both_doors(course.made, course.others())


def chosen(course: Course) -> None:
    others = course.others()
    course.both_doors(course.made, others)
    by_uid = {one.sop_uid: one for one in course.made}
    for other in others[:2]:
        course.choose([other, by_uid[other.sop_uid]])
    course.choose([others[0], by_uid[others[0].sop_uid]])


def deleted(course: Course) -> None:
    course.any_door(course.made[:-FEW])
    course.pause()
    course.give("delete")
    course.any_door(course.made[-FEW:])


def restored(course: Course) -> None:
    course.any_door(course.made[:-FEW])
    course.give("delete")
    course.pause()
    course.any_door(course.made[-FEW:])
    course.give("restore")


def expected(course: Course) -> None:
    course.give("expect", count=len(course.made))
    course.any_door(course.made)


def settled_early(course: Course) -> None:
    half = len(course.made) // 2
    course.any_door(course.made[:half])
    course.give("settle")
    course.give("hold")
    course.any_door(course.made[half:])


def announced_again(course: Course) -> None:
    course.any_door(course.made)
    course.pause()
    course.give("reprocess")
    course.give("hold")
    course.give("unhold")


COURSES: tuple[Callable[[Course], None], ...] = (
    by_one_door,
    repeated,
    late,
    conflicting,
    chosen,
    deleted,
    restored,
    expected,
    settled_early,
    announced_again,
)


def courses(volume: Volume, folder: Path, doors: Doors, chance: random.Random) -> Iterator[Course]:
    """Yield a course for each study of a volume, of each kind in turn."""
    for number, (_, made) in enumerate(groupby(instances(volume), key=lambda one: one.study_uid)):
        kind = COURSES[number % len(COURSES)].__name__
        yield Course(kind, list(made), folder, doors, random.Random(chance.random()))


def run(all_of_them: Sequence[Course], seconds: float, stopping: threading.Event) -> list["Future[None]"]:
    """Begin the courses one after the other, evenly over these seconds; return them when the last has begun."""
    table = {one.__name__: one for one in COURSES}
    pool = ThreadPoolExecutor(AT_ONCE)
    begun = list["Future[None]"]()
    for course in all_of_them:
        begun.append(pool.submit(table[course.kind], course))
        if stopping.wait(seconds / len(all_of_them)):
            break
    pool.shutdown(wait=False)
    return begun
