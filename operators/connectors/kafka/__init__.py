"""The event log as Kafka topics."""
