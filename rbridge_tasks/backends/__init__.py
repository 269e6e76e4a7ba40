"""Scoring back ends, one file each. A back end turns (context, trace) requests into ``TokenScores``."""
