"""How a job starts, whichever launcher starts it: the state that it goes on from, and what refuses or resets it."""
