"""The media types of DICOMweb (PS3.18 8.7)."""

DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
# What an answer in JSON may be called; the first is preferred.
JSON_TYPES = (DICOM_JSON, "application/json")
OCTETS = "application/octet-stream"
MULTIPART = "multipart/related"
