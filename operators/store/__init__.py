"""The contracts of the object store and the event log, and the rules of the quarantine in the store."""
