"""Combining proxies: which of them order models rightly on tasks that were not looked at, and by how much."""
