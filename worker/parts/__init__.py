"""The work on a claimed part: generation, training, and the watch over its lease."""
