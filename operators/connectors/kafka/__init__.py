"""The event log in Kafka's topics, and the positions of consumer groups in them."""
