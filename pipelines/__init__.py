"""The jobs: their graphs of operators and connectors, the code that runs operators on Flink, and the start of a job."""
