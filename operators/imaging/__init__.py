"""The rendering of DICOM images: requests, decoding, display, encoding."""
