"""The catalog in PostgreSQL: its writer, its reader, the rows it does not show, and its migrations."""
