"""``rbridge sweep``: many checkpoints scored by lm-eval, each once, on this machine or on Slurm."""
