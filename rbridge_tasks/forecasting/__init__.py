"""Where a metric, or an accuracy through its proxy, will be later in a training run."""
