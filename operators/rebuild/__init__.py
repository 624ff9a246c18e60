"""What objects tell again: the events of instances, and the ends of transfers."""
