"""One module per Flink graph, each with build(env, settings)."""
