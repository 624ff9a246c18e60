"""Make a CT study of a phantom for the demo: the same pixels every time, with new UIDs."""

from pathlib import Path
from uuid import UUID, uuid5

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

SIZE = 512
SPACING_MM = 0.7
SLICE_MM = 1.0
AIR, WATER, BONE = -1000, 0, 700
IDENTITY = {
    "SpecificCharacterSet": "ISO_IR 192",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "SOPClassUID": CTImageStorage,
    "StudyDate": "20260102",
    "SeriesDate": "20260102",
    "StudyTime": "101500",
    "SeriesTime": "101500",
    "Modality": "CT",
    "Manufacturer": "Fluoro",
    "StudyDescription": "Phantom",
    "SeriesDescription": "Axial 1 mm",
    "PatientName": "Phantom^Demo",
    "PatientID": "DEMO",
    "PatientBirthDate": "",
    "PatientSex": "O",
    "ReferringPhysicianName": "",
    "StudyID": "1",
    "BodyPartExamined": "ABDOMEN",
    "SeriesNumber": 1,
    "AcquisitionNumber": 1,
}
GEOMETRY = {
    "PatientPosition": "HFS",
    "PositionReferenceIndicator": "",
    "KVP": "120",
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "PixelSpacing": [SPACING_MM, SPACING_MM],
    "SliceThickness": SLICE_MM,
}
PIXELS = {
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "Rows": SIZE,
    "Columns": SIZE,
    "BitsAllocated": 16,
    "BitsStored": 16,
    "HighBit": 15,
    "PixelRepresentation": 1,
    "RescaleIntercept": 0,
    "RescaleSlope": 1,
    "WindowCenter": 40,
    "WindowWidth": 400,
}


def write_ct(folder: Path, run: UUID, slices: int = 100) -> str:
    """Write one file per slice, in order, and return the Study Instance UID; another run makes another study."""
    noise = np.random.default_rng(1).normal(0, 12, (SIZE, SIZE)).astype(np.int16)
    study_uid = uid(run, "study")
    for number in range(1, slices + 1):
        image = phantom(number / slices) + np.roll(noise, 37 * number)
        write(folder / f"{number:04}.dcm", slice_of(run, number, image.astype("<i2")))
    return study_uid


def uid(run: UUID, what: str) -> str:
    """Return a UID that belongs to this run (PS3.5 B.2)."""
    return f"2.25.{uuid5(run, what).int}"


def phantom(height: float) -> "np.ndarray[tuple[int, int], np.dtype[np.int16]]":
    """Draw a slice through a body with a spine and a ball: int16, (rows, columns), Hounsfield units.

    The height runs from 0 to 1; the ball is cut at its middle half-way.
    """
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    image = np.full((SIZE, SIZE), AIR, np.int16)
    image[(x / 0.8) ** 2 + (y / 0.6) ** 2 < 1] = WATER
    image[x**2 + (y - 0.4) ** 2 < 0.1**2] = BONE
    ball = max(0.0, 0.3**2 - (2 * height - 1) ** 2)
    image[x**2 + (y + 0.1) ** 2 < ball] = 60
    return image


def slice_of(run: UUID, number: int, image: "np.ndarray[tuple[int, int], np.dtype[np.int16]]") -> Dataset:
    """Return one CT image (PS3.3 A.3)."""
    dataset = Dataset()
    for keyword, value in (IDENTITY | GEOMETRY | PIXELS).items():
        setattr(dataset, keyword, value)
    dataset.SOPInstanceUID = uid(run, f"image {number}")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid(run, "study"), uid(run, "series")
    dataset.FrameOfReferenceUID = uid(run, "frame of reference")
    dataset.AccessionNumber = f"DEMO-{run.hex[:8].upper()}"
    dataset.InstanceNumber = number
    dataset.ImagePositionPatient = [-179, -179, SLICE_MM * number]
    dataset.PixelData = image.tobytes()
    return dataset


def write(path: Path, dataset: Dataset) -> None:
    """Write a Part 10 file, explicit VR little endian."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    FileDataset(None, dataset, preamble=bytes(128), file_meta=meta).save_as(path, enforce_file_format=True)
