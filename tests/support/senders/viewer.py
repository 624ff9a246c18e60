"""A data set as a viewer makes it from metadata, with the bulk data to which these lead."""

from typing import Any

from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset


def whole_data_set(viewer: DICOMwebClient, metadata: dict[str, dict[str, Any]]) -> Dataset:
    """Return the data set, with the pixels and other bulk data that the viewer retrieves."""

    def retrieved(address: str) -> list[bytes]:
        found: list[bytes] = viewer.retrieve_bulkdata(address)
        return found

    return Dataset.from_json(metadata, retrieved)
