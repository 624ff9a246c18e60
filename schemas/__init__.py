"""Contracts: every shape that crosses a process boundary."""
