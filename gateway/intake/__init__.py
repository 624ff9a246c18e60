"""The intake behind every door: it accepts instances, and its outbox makes their events certain."""
