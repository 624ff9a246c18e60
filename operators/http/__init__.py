"""What both web doors share of HTTP: what a client accepts, who it is, what it is told."""
