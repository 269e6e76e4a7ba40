# ruff: noqa: I001  # "name as name" exports a name from a stub; one group a module

from . import (
    alignment as alignment,
    bootstrap as bootstrap,
    cloze as cloze,
    compute as compute,
    curve_fitting as curve_fitting,
    curves as curves,
    errors as errors,
    folds as folds,
    forecast as forecast,
    forecast_gate as forecast_gate,
    functions as functions,
    gate as gate,
    intervals as intervals,
    isotonic as isotonic,
    ladder as ladder,
    levenberg_marquardt as levenberg_marquardt,
    paired_comparison as paired_comparison,
    paper_recipe as paper_recipe,
    planning as planning,
    power_law as power_law,
    predictive as predictive,
    proxies as proxies,
    proxy_names as proxy_names,
    ranking as ranking,
    regression as regression,
    saved_fit as saved_fit,
    scores as scores,
    selection as selection,
    token_edits as token_edits,
    token_scores as token_scores,
    validation as validation,
    weights as weights,
)
from .alignment import (
    character_bytes as character_bytes,
    character_confidence as character_confidence,
    character_tokens as character_tokens,
    frontier_tokens as frontier_tokens,
    span_overlap as span_overlap,
    token_confidence as token_confidence,
)
from .cloze import (
    CLOZE_METRICS as CLOZE_METRICS,
    ClozeScores as ClozeScores,
    cloze_metrics as cloze_metrics,
    cloze_scores as cloze_scores,
)
from .compute import (
    compute_savings as compute_savings,
    pareto_frontier as pareto_frontier,
    training_flops as training_flops,
)
from .errors import (
    AlignmentError as AlignmentError,
    BootstrapError as BootstrapError,
    ComputeError as ComputeError,
    FitError as FitError,
    ForecastError as ForecastError,
    PlanError as PlanError,
    RBridgeError as RBridgeError,
    RankingError as RankingError,
    ScoreError as ScoreError,
    SelectionError as SelectionError,
)
from .power_law import PowerLaw as PowerLaw, fit_power_law as fit_power_law
from .proxies import (
    ProxyParameters as ProxyParameters,
    proxy_scores as proxy_scores,
    proxy_scores_of_traces as proxy_scores_of_traces,
)
from .proxy_names import PROXIES as PROXIES, STATISTICS as STATISTICS, WEIGHTINGS as WEIGHTINGS
from .ranking import decision_accuracy as decision_accuracy, kendall_tau_b as kendall_tau_b, spearman as spearman
from .regression import FitWarning as FitWarning, ProxyRegressor as ProxyRegressor
from .scores import (
    TraceMoments as TraceMoments,
    bits_per_byte as bits_per_byte,
    bits_per_byte_stderr as bits_per_byte_stderr,
    rbridge_nll as rbridge_nll,
    trace_nll as trace_nll,
    weighted_nats as weighted_nats,
    weighted_nats_over_test_set as weighted_nats_over_test_set,
)
from .token_edits import edit_distance as edit_distance
from .token_scores import TokenScores as TokenScores
from .validation import cross_validate as cross_validate
from .weights import (
    minmax_weights as minmax_weights,
    minmax_weights_over_test_set as minmax_weights_over_test_set,
    span_weights as span_weights,
)
