"""The guards of a job's start: which checkpoint it goes on from, and whether the broker is still the same."""
