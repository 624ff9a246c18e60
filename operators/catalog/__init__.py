"""The catalog's rules: from events to rows, and from due studies to revisions; what may be asked of it."""
