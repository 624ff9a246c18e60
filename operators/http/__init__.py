"""What the STOW door and the read API share of HTTP: media types, Accept, the requestor, an error as an answer."""
