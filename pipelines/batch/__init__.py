"""The batch pipelines: Apache Beam over the studies of the object store."""
