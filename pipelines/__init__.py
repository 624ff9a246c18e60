"""Wiring: operators, connectors and an engine."""
