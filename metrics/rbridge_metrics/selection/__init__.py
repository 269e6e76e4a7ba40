"""Combining proxies: which of them order models on tasks left out of training, and how well."""
