"""What the read API's handlers share of HTTP."""
