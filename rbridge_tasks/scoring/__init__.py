"""The scoring engine: tokenised (context, trace) pairs in, per-token scores of a causal LM out."""
