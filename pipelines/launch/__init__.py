"""The start of a job, the same for every launcher: the state it continues from, and what refuses or resets it."""
