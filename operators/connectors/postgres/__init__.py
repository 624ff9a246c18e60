"""The catalog as PostgreSQL tables."""
