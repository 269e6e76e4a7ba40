"""Score tables: collect them from lm-eval results, read and write them; facts on models, runs and metrics."""
