"""Running operators on Flink: Flink operators for steps and flushes, Kafka sources and sinks, and Flink's settings."""
