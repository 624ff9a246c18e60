"""The DICOM upper layer and DIMSE commands as bytes, for both roles: no sockets, no clock."""
