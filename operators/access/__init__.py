"""Who acts on the archive, and what they may do, whatever protocol they came by."""
