"""The DIMSE door: connections, peers and services."""
