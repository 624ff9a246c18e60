"""The read API: QIDO-RS and WADO-RS over the catalog and the object store; it writes nothing."""
