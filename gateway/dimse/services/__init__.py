"""The DIMSE services that this archive provides: a module for each, and a table of them."""
