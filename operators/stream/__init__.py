"""Shared by all operators over topics: records, steps with state, dead letters, and the limit on rejected records."""
