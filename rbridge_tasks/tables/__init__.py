"""Score tables: gathered from lm-eval results, read, written, and what is known of their models, runs and metrics."""
