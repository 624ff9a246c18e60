"""The history of a study: what the catalog's rows tell of its life, in one order."""
