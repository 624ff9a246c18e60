"""Policies are put: one use case for REST and for the command line, with its object, its event and its answer."""
