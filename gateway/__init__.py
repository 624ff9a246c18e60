"""The way in: bytes become objects, events and answers."""
