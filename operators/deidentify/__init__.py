"""What may leave the archive of a study without its patient: pseudonyms, known codes, coarse numbers and times."""
