"""Commands in the catalog: the rows that they make, and what they have decided about the instances of a batch."""
