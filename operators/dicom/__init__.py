"""Bytes and the standard: pure functions from what a data set holds to what it means."""
