"""Kafka: the event log as its topics, and the positions of consumer groups in them."""
