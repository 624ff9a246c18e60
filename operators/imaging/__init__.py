"""The rendering of DICOM images: request parameters, decoding, display, encoding."""
