"""What there is to read beside DICOM's own services, in JSON with plain names."""
