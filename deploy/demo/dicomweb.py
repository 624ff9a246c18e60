"""The archive as a stock DICOMweb client, dicomweb-client, sees it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from dicomweb_client.web import DICOMwebClient
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError

from deploy.errors import Failed

TIMEOUT_S = 30.0
# With each chunk the client searches the part from its beginning again, so chunks are large.
CHUNK_BYTES = 1 << 24
AS_STORED = (("application/dicom", "*"),)
FRAME_AS_STORED = (("application/octet-stream", "*"),)
REASON_LENGTH = 500
NOT_FOUND = 404


class Archive:
    """A DICOMweb service. Every method raises Failed with the server's reason when a request fails."""

    def __init__(self, base: str) -> None:
        session = requests.Session()
        # A proxy for the internet does not reach this machine.
        session.trust_env = False
        self.client = DICOMwebClient(base, session, chunk_size=CHUNK_BYTES, timeout=TIMEOUT_S)
        self.client.set_http_retry_params(retry=False)

    def find(self, study_uid: str) -> list[dict[str, Any]]:
        """Return the matches for a study, in DICOM JSON, with the number of its instances (QIDO-RS, PS3.18 10.6)."""
        with failures_of(f"GET studies?StudyInstanceUID={study_uid}"):
            fields, filters = ["NumberOfStudyRelatedInstances"], {"StudyInstanceUID": study_uid}
            return list(self.client.search_for_studies(fields=fields, search_filters=filters))

    def is_served(self, study_uid: str) -> bool:
        """True if the instances of a study can be retrieved; the metadata stand for all of them (WADO-RS, PS3.18 10.4)."""
        with failures_of(f"GET studies/{study_uid}/metadata"):
            try:
                return bool(self.client.retrieve_study_metadata(study_uid))
            except requests.HTTPError as error:
                if error.response is None or error.response.status_code != NOT_FOUND:
                    raise
                return False

    def frame(self, study_uid: str, series_uid: str, sop_uid: str) -> bytes:
        """Return the first frame of an instance, in the encoding in which it is stored (WADO-RS, PS3.18 10.4)."""
        uids = (study_uid, series_uid, sop_uid)
        with failures_of("GET studies/{}/series/{}/instances/{}/frames/1".format(*uids)):
            (frame,) = self.client.retrieve_instance_frames(*uids, [1], media_types=FRAME_AS_STORED)
            return bytes(frame)

    def instances(self, study_uid: str) -> Iterator[FileDataset]:
        """Yield the instances of a study as they are stored, one at a time in memory (WADO-RS, PS3.18 10.4)."""
        with failures_of(f"GET studies/{study_uid}"):
            yield from self.client.iter_study(study_uid, media_types=AS_STORED)


@contextmanager
def failures_of(request: str) -> Iterator[None]:
    """Raise Failed, with the request and the reason, when a request of the block fails or its answer cannot be read."""
    try:
        yield
    except requests.RequestException as error:
        answer = error.response
        reason = str(error) if answer is None else f"{answer.status_code} {answer.text[:REASON_LENGTH]}"
        raise Failed(f"{request}: {reason}") from error
    except (InvalidDicomError, ValueError) as error:
        raise Failed(f"{request}: {error}") from error
