"""The batch commands: Apache Beam over the studies of the object store, and the replay of rejected records."""
