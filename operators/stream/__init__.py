"""How an operator reads records and keeps state: pure steps that an engine or a test drives."""
