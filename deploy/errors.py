"""The error that ends an installation, a start or a command with a message for the person who gave it."""


class Failed(Exception):
    """It cannot go on. The message says what is wrong and what to do, in a line or a few."""
