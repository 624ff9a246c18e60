"""The loads that senders send: new studies for every round, written as files so that they lie in the page cache."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from tests.audit.ledger import Line
from tests.support.data.generate import Instance, Volume, file_meta, instance_of, instances, patient, token, uid
from tests.support.data.large import Large

CT_SIDE = 512
SMALL_SIDE = 38
LARGE_FRAMES = 57


@dataclass(frozen=True)
class Sample:
    """One file to send, and its ledger line."""

    path: Path
    line: Line
    size_bytes: int


@dataclass(frozen=True)
class Load:
    """The files that each sender sends, a study for each sender."""

    shares: tuple[tuple[Sample, ...], ...]

    @property
    def samples(self) -> list[Sample]:
        """Return the files of all senders."""
        return [sample for share in self.shares for sample in share]

    @property
    def size_bytes(self) -> int:
        """Return the bytes of all files."""
        return sum(sample.size_bytes for sample in self.samples)

    def studies(self) -> Counter[str]:
        """Return the number of instances of each study."""
        return Counter(sample.line.study_uid for sample in self.samples)


# Makes the studies of a number of senders with so many instances each, from a seed, in a folder.
Maker = Callable[[int, int, int, Path], Load]


def ct(senders: int, each: int, seed: int, folder: Path) -> Load:
    """Write CT slices of 531 KB."""
    volume = Volume(studies=senders, slices=each, size=CT_SIDE, seed=seed)
    return load(senders, (written(one, folder) for one in instances(volume)))


def small(senders: int, each: int, seed: int, folder: Path) -> Load:
    """Write instances of 2.9 KB with the header of a secondary capture."""
    volume = Volume(studies=senders, slices=each, size=SMALL_SIDE, seed=seed)
    every = (small_instance(volume, study, number) for study in range(senders) for number in range(each))
    return load(senders, (written(one, folder) for one in every))


def large(senders: int, each: int, seed: int, folder: Path) -> Load:
    """Write enhanced CT instances of 57 frames, 30 MB, each a study of its own."""
    every = (Large(LARGE_FRAMES, seed * 1000 + number) for number in range(senders * each))
    return load(senders, (written_large(one, folder) for one in every))


def load(senders: int, samples: Iterator[Sample]) -> Load:
    """Divide samples, which come study by study, over senders."""
    every = list(samples)
    each = len(every) // senders
    return Load(tuple(tuple(every[start : start + each]) for start in range(0, len(every), each)))


def written(one: Instance, folder: Path) -> Sample:
    """Write one instance into its study's folder."""
    path = one.write(folder / one.file_name)
    uids = one.study_uid, one.series_uid, one.sop_uid
    line = Line("planned", "local", *uids, one.data_hash, one.transfer_syntax, one.canary)
    return Sample(path, line, path.stat().st_size)


def written_large(one: Large, folder: Path) -> Sample:
    """Write one large instance into its study's folder."""
    path = folder / one.study_uid / f"{one.sop_uid}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.writelines((file_meta(one.sop_class, one.sop_uid), *one.parts))
    return Sample(path, one.line, path.stat().st_size)


def small_instance(volume: Volume, study: int, number: int) -> Instance:
    """Return a small image with the elements of its patient and study."""
    dataset = Dataset()
    dataset.update(patient(volume, study))
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, uid(volume, study, "small", number)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid(volume, study, "small"), uid(volume, study, "series")
    dataset.Modality, dataset.ConversionType, dataset.InstanceNumber = "OT", "WSD", number + 1
    dataset.Rows = dataset.Columns = volume.size
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 7, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    pixels = random.Random(number).randbytes(volume.size**2)
    return instance_of(dataset, pixels, token(volume.seed, study))
