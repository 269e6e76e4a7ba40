"""Models of different families, ranked by the scorer that held up: ``rbridge select``."""
