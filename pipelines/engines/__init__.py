"""How a step runs in an engine, in one place."""
