"""The verification: every object of the store against the catalog, and every row of the catalog against the store."""
