"""From pairs of proxy score and accuracy to curves, their validation, and predictions."""
