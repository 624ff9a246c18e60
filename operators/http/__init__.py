"""HTTP as the STOW door and the read API share it: media types, Accept headers, the requestor, errors as answers."""
