"""What the platform knows: pure functions, and connectors as the only I/O."""
