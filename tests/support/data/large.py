"""An instance of any size, which is never in memory as a whole."""

import hashlib
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian

from tests.audit.ledger import Line
from tests.support.data.generate import uid

CHUNK = bytes(range(256)) * 512
FRAME_SIDE = 512
FRAME_BYTES = 2 * FRAME_SIDE * FRAME_SIDE


@dataclass(frozen=True)
class Large:
    """An enhanced CT of `frames` frames of 512 KiB; another seed is another instance."""

    frames: int
    seed: int = 1
    sop_class: str = EnhancedCTImageStorage
    transfer_syntax: str = ExplicitVRLittleEndian

    @property
    def sop_uid(self) -> str:
        """Return the SOP Instance UID."""
        return uid("large", self.seed, self.frames)

    @property
    def study_uid(self) -> str:
        """Return the Study Instance UID."""
        return uid("large study", self.seed, self.frames)

    @property
    def parts(self) -> tuple[bytes, ...]:
        """Return the data set's bytes in parts: the header, then the same chunk again and again."""
        return (self.header, *[CHUNK] * (self.frames * FRAME_BYTES // len(CHUNK)))

    @property
    def size_bytes(self) -> int:
        """Return the data set's length."""
        return len(self.header) + self.frames * FRAME_BYTES

    @property
    def line(self) -> Line:
        """Return the instance's ledger line."""
        digest = hashlib.sha256(self.transfer_syntax.encode() + b"\0")
        for part in self.parts:
            digest.update(part)
        uids = self.study_uid, f"{self.study_uid}.1", self.sop_uid
        return Line("planned", "local", *uids, digest.hexdigest(), self.transfer_syntax)

    @property
    def header(self) -> bytes:
        """Return the data set up to the value of the pixel element."""
        content = Dataset()
        content.SOPClassUID, content.SOPInstanceUID = self.sop_class, self.sop_uid
        content.StudyInstanceUID, content.SeriesInstanceUID = self.study_uid, f"{self.study_uid}.1"
        content.Modality, content.PatientID, content.NumberOfFrames = "CT", f"LARGE{self.seed}", self.frames
        content.Rows = content.Columns = FRAME_SIDE
        content.BitsAllocated, content.SamplesPerPixel = 16, 1
        content.PhotometricInterpretation = "MONOCHROME2"
        file = DicomBytesIO()
        file.is_little_endian, file.is_implicit_VR = True, False
        write_dataset(file, content)
        length = self.frames * FRAME_BYTES
        return bytes(file.getvalue()) + b"\xe0\x7f\x10\x00OW\0\0" + length.to_bytes(4, "little")
