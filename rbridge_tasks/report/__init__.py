"""One self-contained page of a score table: training, predictions, ranking, every metric, and traces in colour."""
