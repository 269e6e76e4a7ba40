"""Token frequencies of a corpus under a tokenizer: read, counted in several processes, kept in a file."""
