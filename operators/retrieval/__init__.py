"""Reading instances out of the archive, for whatever serves, forwards or checks them."""
