"""The way out: QIDO and WADO from the sinks, reads only."""
