"""REST calls that change something, under /v1 of the web origin: JSON in, JSON out, errors as application/problem+json."""
