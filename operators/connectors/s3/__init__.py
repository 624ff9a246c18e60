"""The object store as an S3 endpoint."""
