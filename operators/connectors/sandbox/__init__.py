"""Processes that decode images: each has its limits and can be killed, and none can take the server down with it."""
