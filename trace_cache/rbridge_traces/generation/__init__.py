"""Traces from a frontier model behind a Chat Completions server: prompt, journal, client, grading, cost, cache."""
