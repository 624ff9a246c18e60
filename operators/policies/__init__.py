"""Policies: what a site decides about studies, as rules that are data. One mechanism for all jobs that decide by rules."""
