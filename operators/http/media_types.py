"""The media types of DICOMweb (PS3.18 8.7), and of REST."""

DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
JSON = "application/json"
PROBLEM_JSON = "application/problem+json"
# The media types of an answer in JSON, the preferred type first.
JSON_TYPES = (DICOM_JSON, JSON)
OCTETS = "application/octet-stream"
MULTIPART = "multipart/related"
