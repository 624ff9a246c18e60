"""The DIMSE services that this archive offers as provider: a module each, and a table of them."""
