"""The object store and the event log as operators see them, and what is kept there aside."""
