"""Every proxy and comparator held against the same targets: ``rbridge compare``."""
