"""The catalog's rules: how events become rows, how due studies become revisions, and how queries match."""
