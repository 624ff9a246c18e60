"""QIDO-RS and WADO-RS: a module for each kind of resource."""
