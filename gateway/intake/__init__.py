"""The intake behind every door: it accepts instances, and its outbox ensures that their events are published."""
