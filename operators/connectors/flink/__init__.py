"""The Flink cluster that runs the jobs, as its REST API shows it."""
