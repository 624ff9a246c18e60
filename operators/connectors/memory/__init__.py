"""Memory twins of the connectors: whole behaviour, no I/O, and outages on demand."""
