"""Repeats: instances whose object is in the store already; it is inspected, and replaced when it is damaged."""
