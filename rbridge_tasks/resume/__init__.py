"""Scores that outlive a run: ``lm_eval --use_cache`` for our request type, keyed by what the scores depend on."""
