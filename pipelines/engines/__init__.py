"""How operators run on Flink: the shells around steps and flushes, Kafka's ends of a graph, and Flink's settings."""
