"""The one way in behind every door: accepting an instance, and the outbox that makes its event certain."""
