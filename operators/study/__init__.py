"""The life of a study: when it is due."""
