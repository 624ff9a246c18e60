"""DICOM data sets: pure functions that read bytes as the standard defines them, without decoding pixels."""
