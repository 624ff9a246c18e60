"""The media types of DICOMweb (PS3.18 8.7)."""

DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
# The media types of an answer in JSON, the preferred type first.
JSON_TYPES = (DICOM_JSON, "application/json")
OCTETS = "application/octet-stream"
MULTIPART = "multipart/related"
