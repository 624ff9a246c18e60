"""The jobs: graphs of operators and connectors, the engine that runs them, and how they start."""
