from .decisions.compare import Comparison, compare
from .decisions.fit import fit
from .decisions.fit_file import Fit, load_fit, predict
from .decisions.forecast import Forecasts, forecast
from .decisions.gate import gate
from .decisions.gate_result import GateResult
from .decisions.ladder import ladder
from .decisions.ladder_result import Ladder
from .decisions.noise import Noise, noise
from .decisions.plan import SearchPlan, plan
from .decisions.prediction import Predictions
from .decisions.rank import Ranking, rank
from .decisions.select import Selection, select
from .frequencies.proxies import ProxyTable, proxies
from .report.page import Report, make_report
from .scoring.score import score
from .scoring.scores import Scores, reweight
from .sweeping.request import SweepRequest, SweepResult
from .sweeping.sweep import sweep
from .tables.collect import Collected, collect
from .tables.export import export
from .tables.exported_scores import Exported
from .training.callback import RBridgeCallback
from .training.in_loop import InLoop

__all__ = [
    "Collected",
    "Comparison",
    "Exported",
    "Fit",
    "Forecasts",
    "GateResult",
    "InLoop",
    "Ladder",
    "Noise",
    "Predictions",
    "ProxyTable",
    "RBridgeCallback",
    "Ranking",
    "Report",
    "Scores",
    "SearchPlan",
    "Selection",
    "SweepRequest",
    "SweepResult",
    "__version__",
    "collect",
    "compare",
    "export",
    "fit",
    "forecast",
    "gate",
    "ladder",
    "load_fit",
    "make_report",
    "noise",
    "plan",
    "predict",
    "proxies",
    "rank",
    "reweight",
    "score",
    "select",
    "sweep",
]

__version__: str
