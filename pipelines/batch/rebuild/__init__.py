"""Rebuild: publish again what the object store tells."""
