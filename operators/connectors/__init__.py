"""The only I/O: one file per kind of outside system, and memory twins of each."""
