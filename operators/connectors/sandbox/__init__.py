"""Processes that decode images: each has limits and can be killed, and a crash of one does not harm the server."""
