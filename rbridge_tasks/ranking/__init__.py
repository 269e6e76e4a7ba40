"""Candidate data sets in the order of a proxy, how sure that order is, and how it agrees with targets."""
