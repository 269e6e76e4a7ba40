"""Decisions from score tables: fit, predict, rank, compare, select, forecast and gate."""
