"""The outbox: a journal on disk, the ledger of what its lines leave open, and the work that follows from it."""
