"""The replay of rejected records: which dead letters there are, which are asked for, and how their records are sent again."""
