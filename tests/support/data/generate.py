"""Made-up CT studies as a scanner would send them: about 200 elements and 16-bit slices.

The same arguments give the same bytes. Every study carries one token that occurs nowhere else, in name, ID and
accession number, so that a leak of patient data can be searched for.

    python -m tests.support.data.generate --out FOLDER --studies 8 --slices 250
"""

import argparse
import hashlib
import io
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

CANARY = "QZCANARY"


@dataclass(frozen=True)
class Volume:
    """The studies to make: each of `slices` square slices of `size` pixels a side, divided over `series` series."""

    studies: int = 1
    slices: int = 100
    series: int = 1
    size: int = 512
    seed: int = 1


@dataclass(frozen=True)
class Instance:
    """One generated instance: its UIDs, its study's token, and its file as file meta, header and pixels.

    `header` ends with the tag, VR and length of the pixel element.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    canary: str
    meta: bytes
    header: bytes
    pixels: bytes
    sop_class: str = CTImageStorage
    transfer_syntax: str = ExplicitVRLittleEndian

    @property
    def parts(self) -> tuple[bytes, bytes]:
        """Return the data set in two parts, which together are the bytes to send."""
        return self.header, self.pixels

    @property
    def data_hash(self) -> str:
        """Return the identity of this content: sha256 of transfer syntax UID, a zero byte, the data set."""
        digest = hashlib.sha256(self.transfer_syntax.encode() + b"\0")
        for part in self.parts:
            digest.update(part)
        return digest.hexdigest()

    @property
    def file_name(self) -> str:
        """Return the path of the instance's file within its volume's folder."""
        return f"{self.study_uid}/{self.sop_uid}.dcm"

    def write(self, path: Path) -> Path:
        """Write the instance as a Part 10 file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.writelines((self.meta, *self.parts))
        return path


def instances(volume: Volume) -> Iterator[Instance]:
    """Yield every instance of a volume, study by study, in order of acquisition."""
    body = phantom(volume.size, volume.seed)
    for study in range(volume.studies):
        dataset = scan(volume, study)
        for number in range(volume.slices):
            yield one_slice(volume, study, number, dataset, body)


def files(volume: Volume, folder: Path) -> list[Path]:
    """Write a volume into a folder, with a folder for each study; return the files in order."""
    return [instance.write(folder / instance.file_name) for instance in instances(volume)]


def uid(*parts: object) -> str:
    """Return the UID that these parts determine."""
    return f"2.25.{uuid5(NAMESPACE_OID, '/'.join(map(str, parts))).int}"


def token(seed: int, study: int) -> str:
    """Return a study's token: only letters, and found nowhere else."""
    digest = hashlib.sha256(f"{seed}/{study}".encode()).digest()
    return CANARY + "".join(chr(ord("A") + byte % 26) for byte in digest[:8])


def phantom(size: int, seed: int) -> np.ndarray:
    """Return the image of a body with noise: int16, (size, size), Hounsfield units."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    inside = (x / 0.85) ** 2 + (y / 0.62) ** 2 < 1
    noise = np.random.default_rng(seed).normal(0, 12, (size, size))
    return (np.where(inside, 40 + 200 * np.cos(9 * x) * np.sin(7 * y), -1000) + noise).astype("<i2")


def one_slice(volume: Volume, study: int, number: int, dataset: Dataset, body: np.ndarray) -> Instance:
    """Return one slice, made from its study's data set, which is changed."""
    series = number * volume.series // volume.slices
    dataset.SeriesInstanceUID = uid(volume, study, series)
    dataset.SeriesNumber, dataset.SeriesDescription = series + 1, f"Axial {series + 1}.0 B30f"
    dataset.SOPInstanceUID = uid(volume, study, series, number)
    dataset.InstanceNumber = number + 1
    dataset.SliceLocation = f"{-number}.00"
    dataset.ImagePositionPatient = ["-190", "-190", f"{-number}.00"]
    pixels = np.roll(body, number, axis=1) + np.int16(study)
    return instance_of(dataset, pixels.tobytes(), token(volume.seed, study))


def instance_of(dataset: Dataset, pixels: bytes, canary: str) -> Instance:
    """Return the instance of a data set without its pixels, and of these."""
    return Instance(
        study_uid=dataset.StudyInstanceUID,
        series_uid=dataset.SeriesInstanceUID,
        sop_uid=dataset.SOPInstanceUID,
        canary=canary,
        meta=file_meta(dataset.SOPClassUID, dataset.SOPInstanceUID),
        # (7FE0,0010) OW, the last element: PS3.5 7.1.2
        header=encoded(dataset) + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, len(pixels)),
        pixels=pixels,
        sop_class=dataset.SOPClassUID,
    )


def encoded(dataset: Dataset) -> bytes:
    """Return a data set's bytes, explicit VR little endian."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return bytes(buffer.getvalue())


def file_meta(sop_class: str, sop_uid: str) -> bytes:
    """Return preamble and file meta of an instance (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = sop_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = uid("implementation")
    buffer = io.BytesIO()
    write_file_meta_info(buffer, meta)
    return b"\0" * 128 + b"DICM" + buffer.getvalue()


def scan(volume: Volume, study: int) -> Dataset:
    """Return the data set that all slices of a study share."""
    dataset = Dataset()
    dataset.update(patient(volume, study))
    dataset.update(acquisition(volume.size))
    dataset.StudyInstanceUID = uid(volume, study)
    dataset.FrameOfReferenceUID = uid(volume, study, "frame of reference")
    sequences(dataset)
    private(dataset)
    return dataset


def patient(volume: Volume, study: int) -> Dataset:
    """Return the elements of patient, study and dates; every text that could name a patient carries the token."""
    name = token(volume.seed, study)
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName, dataset.PatientID = f"{name}^Ännchen", f"ID{name}"
    dataset.IssuerOfPatientID, dataset.OtherPatientIDs = "GENERATED", f"OTHER{name}"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientAge = "19480229", "O", "077Y"
    dataset.PatientWeight, dataset.PatientSize = "71.5", "1.78"
    dataset.PatientAddress, dataset.PatientTelephoneNumbers = f"{name} Street 1", name
    dataset.AccessionNumber, dataset.StudyID = name, f"S{study}"
    dataset.ReferringPhysicianName = f"{name}^Referring"
    dataset.PerformingPhysicianName = dataset.OperatorsName = dataset.PhysiciansOfRecord = f"{name}^Staff"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20260317"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "101500.250000"
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = "20260317", "101501"
    dataset.PerformedProcedureStepStartDate = "20260317"
    dataset.PerformedProcedureStepStartTime = "101400"
    dataset.PerformedProcedureStepID, dataset.PerformedProcedureStepDescription = "PPS1", "CT abdomen"
    dataset.StudyDescription, dataset.InstitutionName = "CT ABDOMEN W CONTRAST", "General Hospital"
    dataset.InstitutionAddress, dataset.InstitutionalDepartmentName = "1 Test Road", "Radiology"
    return dataset


# The elements that a CT scanner writes about itself, PS3.3 A.3.
SCANNER = {
    "SOPClassUID": CTImageStorage,
    "Modality": "CT",
    "Manufacturer": "SYNTHMED",
    "ManufacturerModelName": "Phantom 5000",
    "StationName": "STA001",
    "DeviceSerialNumber": "SN000001",
    "SoftwareVersions": ["SYNTH 1.0", "B2"],
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
    "BodyPartExamined": "ABDOMEN",
    "ProtocolName": "Abdomen routine 2.0",
    "ContrastBolusAgent": "APPLIED",
    "ScanOptions": "HELICAL MODE",
    "KVP": "120",
    "DataCollectionDiameter": "500",
    "ReconstructionDiameter": "380",
    "DistanceSourceToDetector": "1040",
    "DistanceSourceToPatient": "570",
    "GantryDetectorTilt": "0",
    "TableHeight": "151.5",
    "RotationDirection": "CW",
    "ExposureTime": "500",
    "XRayTubeCurrent": "230",
    "Exposure": "115",
    "FilterType": "WEDGE_3",
    "GeneratorPower": "28",
    "FocalSpots": ["1.2", "1.2"],
    "ConvolutionKernel": "B30f",
    "PatientPosition": "HFS",
    "SingleCollimationWidth": 0.6,
    "TotalCollimationWidth": 38.4,
    "TableSpeed": 46.0,
    "SpiralPitchFactor": 0.9,
    "CTDIvol": 7.75,
    "PositionReferenceIndicator": "",
    "AcquisitionNumber": 1,
    "SliceThickness": "1.0",
    "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16,
    "BitsStored": 16,
    "HighBit": 15,
    "PixelRepresentation": 1,
    "WindowCenter": ["40", "400"],
    "WindowWidth": ["400", "1500"],
    "WindowCenterWidthExplanation": ["SOFT", "WIDE"],
    "RescaleIntercept": "0",
    "RescaleSlope": "1",
    "RescaleType": "HU",
}


def acquisition(size: int) -> Dataset:
    """Return the elements of scanner and acquisition."""
    dataset = Dataset()
    for keyword, value in SCANNER.items():
        setattr(dataset, keyword, value)
    dataset.Rows = dataset.Columns = size
    dataset.PixelSpacing = [f"{380 / size:.6f}"] * 2
    return dataset


def sequences(dataset: Dataset) -> None:
    """Add the sequences that real modalities send: codes, request attributes, references."""
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "CTABDCON", "99TEST", "CT abdomen with contrast"
    request = Dataset()
    request.RequestedProcedureDescription, request.ScheduledProcedureStepID = "CT abdomen", "SPS1"
    request.RequestedProcedureID = "RP1"
    request.ScheduledProtocolCodeSequence = Sequence([code])
    reference = Dataset()
    reference.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    reference.ReferencedSOPInstanceUID = dataset.StudyInstanceUID
    dataset.ProcedureCodeSequence = Sequence([code])
    dataset.RequestAttributesSequence = Sequence([request])
    dataset.ReferencedStudySequence = Sequence([reference])
    dataset.ReferencedImageSequence = Sequence([reference] * 3)


def private(dataset: Dataset) -> None:
    """Add two private blocks, with about 80 elements and a binary one."""
    for group in (0x0029, 0x0033):
        block = dataset.private_block(group, "SYNTHMED HEADER 1", create=True)
        for element in range(0x28):
            block.add_new(element, "LO", f"private value {element}")
        block.add_new(0x40, "OB", bytes(range(256)) * 4)


def main() -> None:
    """Write a volume to a folder."""
    wanted = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wanted.add_argument("--out", type=Path, required=True)
    for name, value in vars(Volume()).items():
        wanted.add_argument(f"--{name}", type=int, default=value)
    given = vars(wanted.parse_args())
    written = files(Volume(**{name: given[name] for name in vars(Volume())}), given["out"])
    sys.stdout.write(f"{len(written)} instances, {sum(path.stat().st_size for path in written) / 1e6:.0f} MB\n")


if __name__ == "__main__":
    main()
