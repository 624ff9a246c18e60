"""From the bytes of a frame to its samples: code streams, stored bits, colours shared by neighbours."""
