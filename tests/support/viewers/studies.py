"""A CT whose pixels say where they are, a report as PDF, and a study without a modality, for tests that look through a viewer."""

from pathlib import Path

import numpy as np
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from tests.support.data.generate import Volume, files, uid

# The three accession numbers begin with it, and no other of the archive.
ACCESSION = "VIEWED"
DESCRIPTION, REPORT = "CT ABDOMEN W CONTRAST", "Report"
SLICES, SIZE = 16, 64
# A cube: millimetres between slices, and between pixels.
SLICE_MM, PIXEL_MM = 20.0, 5.0
# Hounsfield units of the quadrants of the first slice, which meet at 3/8 of rows and columns.
# They lie within the window that the header names, 40 +- 200.
QUADRANTS = {"right anterior": -150, "left anterior": -70, "right posterior": 10, "left posterior": 90}
SPLIT = SIZE * 3 // 8
# What every slice has more than the slice above it.
STEP = 4
LOWEST, HIGHEST = -160, 239
# The page of the report, red, green and blue.
BLUE = [0, 0, 255]


def greys(number: int, lowest: float = LOWEST, highest: float = HIGHEST) -> list[float]:
    """Return the greys of the quadrants of a slice, counted from 0, in a window: 0 to 255."""
    return [(value + STEP * number - lowest) / (highest - lowest) * 255 for value in QUADRANTS.values()]


def viewed_studies(folder: Path) -> list[Path]:
    """Write the three studies into a folder; return their files."""
    paths = files(Volume(slices=SLICES, size=SIZE, seed=77), folder)
    for number, path in enumerate(paths):
        one_slice(number, dcmread(path)).save_as(path)
    first = dcmread(paths[0])
    return [*paths, report(first, folder / "report.dcm"), without_modality(first, folder / "without_modality.dcm")]


def one_slice(number: int, dataset: Dataset) -> Dataset:
    """Return a generated slice with other pixels and another geometry."""
    y, x = np.mgrid[:SIZE, :SIZE]
    quadrant = 2 * (y >= SPLIT) + (x >= SPLIT)
    dataset.PixelData = (np.array([*QUADRANTS.values()], dtype="<i2")[quadrant] + np.int16(STEP * number)).tobytes()
    dataset.PixelSpacing = [PIXEL_MM, PIXEL_MM]
    dataset.SliceThickness = SLICE_MM
    dataset.SliceLocation = -SLICE_MM * number
    dataset.ImagePositionPatient = [-SIZE / 2 * PIXEL_MM, -SIZE / 2 * PIXEL_MM, -SLICE_MM * number]
    dataset.AccessionNumber = f"{ACCESSION}1"
    return dataset


def without_modality(image: Dataset, path: Path) -> Path:
    """Write a slice into a study of its own that has no modality."""
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = uid("bare", "image")
    image.StudyInstanceUID, image.SeriesInstanceUID = uid("bare", "study"), uid("bare", "series")
    image.Modality, image.AccessionNumber, image.StudyDescription = None, f"{ACCESSION}3", "Unknown"
    image.save_as(path)
    return path


def report(image: Dataset, path: Path) -> Path:
    """Write a report of an image's patient, in a study of its own, as an encapsulated PDF (PS3.3 A.45.1)."""
    dataset = Dataset()
    for keyword in ("SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex"):
        dataset[keyword] = image[keyword]
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = EncapsulatedPDFStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = uid("viewed", "report")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid("viewed", "study"), uid("viewed", "series")
    dataset.StudyDate, dataset.StudyTime, dataset.Modality = "20260318", "090000", "DOC"
    dataset.AccessionNumber, dataset.StudyDescription, dataset.DocumentTitle = f"{ACCESSION}2", REPORT, REPORT
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document = pdf()
    dataset.EncapsulatedDocument = document + b"\0" * (len(document) % 2)
    dataset.EncapsulatedDocumentLength = len(document)
    dataset.save_as(path, enforce_file_format=True)
    return path


def pdf() -> bytes:
    """Return a document of one page that is blue all over, too long for a place in metadata."""
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 400 400]/Contents 4 0 R>>"
    drawing = b"0 0 1 rg 0 0 400 400 re f " + b" " * 4096
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        page,
        b"<</Length %d>>stream\n%s\nendstream" % (len(drawing), drawing),
    ]
    document, offsets = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        offsets.append(len(document))
        document += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    count = len(objects) + 1
    trailer = b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n"
    return document + trailer % (count, table, count, len(document))
