"""The only I/O: a folder for each outside system, and memory twins with the same behaviour."""
