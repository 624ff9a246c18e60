"""Reading instances from the archive, for everything that serves, forwards or checks them."""
