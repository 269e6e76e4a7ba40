"""The base of every error that a user is meant to read."""


class RBridgeError(Exception):
    """An error whose message is one line: what was found, what was expected, what to do."""


class AlignmentError(RBridgeError, ValueError):
    """Offsets, confidences and text do not fit together."""


class ScoreError(RBridgeError, ValueError):
    """Scores that cannot be combined: wrong shapes, NaN, or nothing to average."""
