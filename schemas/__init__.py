"""The contracts between processes: events and topics, objects and their keys, tables, settings, logs and metrics."""
