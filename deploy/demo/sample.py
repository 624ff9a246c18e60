"""A CT study for the demo: a phantom, the same every time but for its UIDs. No patient, no network."""

from pathlib import Path
from uuid import UUID, uuid5

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

SIZE = 512
SPACING_MM = 0.7
SLICE_MM = 1.0
AIR, WATER, BONE = -1000, 0, 700


def write_ct(folder: Path, run: UUID, slices: int = 100) -> str:
    """Write one file per slice, in order; the Study Instance UID. Another run, another study."""
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
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = uid(run, f"image {number}")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid(run, "study"), uid(run, "series")
    dataset.FrameOfReferenceUID = uid(run, "frame of reference")
    dataset.StudyDate = dataset.SeriesDate = "20260102"
    dataset.StudyTime = dataset.SeriesTime = "101500"
    dataset.AccessionNumber = f"DEMO-{run.hex[:8].upper()}"
    dataset.Modality, dataset.Manufacturer = "CT", "Fluoro"
    dataset.StudyDescription, dataset.SeriesDescription = "Phantom", "Axial 1 mm"
    dataset.PatientName, dataset.PatientID = "Phantom^Demo", "DEMO"
    dataset.PatientBirthDate, dataset.PatientSex = "", "O"
    dataset.ReferringPhysicianName, dataset.StudyID, dataset.PositionReferenceIndicator = "", "1", ""
    dataset.BodyPartExamined, dataset.PatientPosition, dataset.KVP = "ABDOMEN", "HFS", "120"
    dataset.SeriesNumber, dataset.AcquisitionNumber, dataset.InstanceNumber = 1, 1, number
    dataset.ImagePositionPatient = [-179, -179, SLICE_MM * number]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [SPACING_MM, SPACING_MM], SLICE_MM
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = SIZE
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleIntercept, dataset.RescaleSlope = 0, 1
    dataset.WindowCenter, dataset.WindowWidth = 40, 400
    dataset.PixelData = image.tobytes()
    return dataset


def write(path: Path, dataset: Dataset) -> None:
    """Write a Part 10 file, explicit VR little endian."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    FileDataset(None, dataset, preamble=bytes(128), file_meta=meta).save_as(path, enforce_file_format=True)
