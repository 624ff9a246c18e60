"""The error that ends an installation, a start or a command with a message for the person who began it."""


class Failed(Exception):
    """An installation, a start or a command cannot go on; the message says what is wrong and what to do."""
