"""What operators over topics share: records, steps that keep state, dead letters, and the limit on rejected records."""
