"""The connectors in memory, for tests: the same behaviour without I/O, and outages on demand."""
