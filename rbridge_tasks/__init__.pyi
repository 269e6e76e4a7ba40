from .scoring.score import score
from .scoring.scores import Scores, reweight

__all__ = ["Scores", "__version__", "reweight", "score"]

__version__: str
