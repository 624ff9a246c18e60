"""The principal behind a request, and what it may do; the same for every protocol."""
