"""Whether the object store and the catalog say the same: every object against its row, and every row against its object."""
