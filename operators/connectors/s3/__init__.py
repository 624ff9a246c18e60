"""The object store at an S3 endpoint."""
