"""Errors whose message is written for the user."""


class RBridgeError(Exception):
    """An error whose message is one line: what was found, what was expected, what to do."""


class AlignmentError(RBridgeError, ValueError):
    """Offsets, confidences and text do not fit together."""


class BootstrapError(RBridgeError, ValueError):
    """Item scores or standard errors that cannot be resampled."""


class ComputeError(RBridgeError, ValueError):
    """Sizes or costs that cannot be: at or below 0, not finite, or of different lengths."""


class FitError(RBridgeError, ValueError):
    """Points that no function can be fitted to, or a fit that cannot be used."""


class ForecastError(RBridgeError, ValueError):
    """A run too short, too flat or too damaged to forecast."""


class PlanError(RBridgeError, ValueError):
    """A plan that cannot be: more kept than there are, no stage, impossible rates."""


class RankingError(RBridgeError, ValueError):
    """Scores of candidates that cannot be ordered or compared."""


class ScoreError(RBridgeError, ValueError):
    """Scores that cannot be combined: wrong shapes, NaN, or nothing to average."""


class SelectionError(RBridgeError, ValueError):
    """Populations of models too small, too incomplete or too alike to select proxies on."""
