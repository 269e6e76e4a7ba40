"""The arithmetic of rBridge: arrays in, arrays out. No torch, no lm-eval, no files.

The names below are imported when they are first used: whoever only wants the error class does not wait for NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rbridge_metrics.alignment import (
        frontier_tokens,
        letter_bytes,
        letter_confidence,
        letter_tokens,
        span_overlap,
        token_confidence,
    )
    from rbridge_metrics.bootstrap import (
        Interval,
        RankSummary,
        drawn_scores,
        percentile_interval,
        rank_summary,
        resampled_means,
        resampled_ratios,
    )
    from rbridge_metrics.cloze import (
        CLOZE_METRICS,
        ClozeScores,
        cloze_metrics,
        cloze_scores,
    )
    from rbridge_metrics.compute import (
        Savings,
        compute_savings,
        pareto_frontier,
        training_flops,
    )
    from rbridge_metrics.errors import (
        AlignmentError,
        BootstrapError,
        ComputeError,
        FitError,
        ForecastError,
        PlanError,
        RankingError,
        RBridgeError,
        ScoreError,
        SelectionError,
    )
    from rbridge_metrics.forecast import (
        Backtest,
        accuracy_through_proxy,
        backtest,
    )
    from rbridge_metrics.forecast_gate import (
        ForecastChange,
        detectable_forecast_change,
        forecast_change,
    )
    from rbridge_metrics.gate import (
        PairedChange,
        holm,
        minimum_detectable_change,
        paired_change,
    )
    from rbridge_metrics.paired_comparison import (
        ComparisonWithBest,
        compare_with_best,
        drawn_counts,
        resampled_agreement,
        resampled_weighted_means,
    )
    from rbridge_metrics.planning import (
        Stage,
        StagedSearch,
        chance_to_find_best,
        chance_to_keep_best,
        gpu_hours,
        latent_correlation,
        make_plan,
    )
    from rbridge_metrics.power_law import (
        PowerLaw,
        fit_power_law,
    )
    from rbridge_metrics.proxies import (
        ProxyParameters,
        frequency_weights,
        proxy_scores,
        proxy_scores_of_traces,
        weighted_means,
    )
    from rbridge_metrics.proxy_names import (
        PROXIES,
        STATISTICS,
        WEIGHTINGS,
        Proxy,
        proxy_name,
    )
    from rbridge_metrics.ranking import (
        Agreement,
        PairCounts,
        agreement,
        decision_accuracy,
        kendall_tau_b,
        pair_counts,
        ranks,
        spearman,
    )
    from rbridge_metrics.regression import (
        FitWarning,
        ProxyRegressor,
    )
    from rbridge_metrics.scores import (
        TraceMoments,
        bits_per_byte,
        bits_per_byte_stderr,
        rbridge_nll,
        trace_nll,
        weighted_nats,
        weighted_nats_over_test_set,
    )
    from rbridge_metrics.selection.population import (
        Population,
        make_population,
    )
    from rbridge_metrics.selection.results import (
        ScorerTrials,
    )
    from rbridge_metrics.selection.scorers import (
        Scorer,
    )
    from rbridge_metrics.selection.select import (
        select,
    )
    from rbridge_metrics.token_edits import (
        edit_distance,
    )
    from rbridge_metrics.token_scores import (
        TokenScores,
    )
    from rbridge_metrics.validation import (
        CrossValidation,
        Fold,
        cross_validate,
    )
    from rbridge_metrics.weights import (
        minmax_weights,
        minmax_weights_over_test_set,
        span_weights,
    )

__all__ = [
    "CLOZE_METRICS",
    "PROXIES",
    "STATISTICS",
    "WEIGHTINGS",
    "Agreement",
    "AlignmentError",
    "Backtest",
    "BootstrapError",
    "ClozeScores",
    "ComparisonWithBest",
    "ComputeError",
    "CrossValidation",
    "FitError",
    "FitWarning",
    "Fold",
    "ForecastChange",
    "ForecastError",
    "Interval",
    "PairCounts",
    "PairedChange",
    "PlanError",
    "Population",
    "PowerLaw",
    "Proxy",
    "ProxyParameters",
    "ProxyRegressor",
    "RBridgeError",
    "RankSummary",
    "RankingError",
    "Savings",
    "ScoreError",
    "Scorer",
    "ScorerTrials",
    "SelectionError",
    "Stage",
    "StagedSearch",
    "TokenScores",
    "TraceMoments",
    "accuracy_through_proxy",
    "agreement",
    "backtest",
    "bits_per_byte",
    "bits_per_byte_stderr",
    "chance_to_find_best",
    "chance_to_keep_best",
    "cloze_metrics",
    "cloze_scores",
    "compare_with_best",
    "compute_savings",
    "cross_validate",
    "decision_accuracy",
    "detectable_forecast_change",
    "drawn_counts",
    "drawn_scores",
    "edit_distance",
    "fit_power_law",
    "forecast_change",
    "frequency_weights",
    "frontier_tokens",
    "gpu_hours",
    "holm",
    "kendall_tau_b",
    "latent_correlation",
    "letter_bytes",
    "letter_confidence",
    "letter_tokens",
    "make_plan",
    "make_population",
    "minimum_detectable_change",
    "minmax_weights",
    "minmax_weights_over_test_set",
    "pair_counts",
    "paired_change",
    "pareto_frontier",
    "percentile_interval",
    "proxy_name",
    "proxy_scores",
    "proxy_scores_of_traces",
    "rank_summary",
    "ranks",
    "rbridge_nll",
    "resampled_agreement",
    "resampled_means",
    "resampled_ratios",
    "resampled_weighted_means",
    "select",
    "span_overlap",
    "span_weights",
    "spearman",
    "token_confidence",
    "trace_nll",
    "training_flops",
    "weighted_means",
    "weighted_nats",
    "weighted_nats_over_test_set",
]

_MODULES = {
    "alignment": (
        "frontier_tokens",
        "letter_bytes",
        "letter_confidence",
        "letter_tokens",
        "span_overlap",
        "token_confidence",
    ),
    "bootstrap": (
        "Interval",
        "RankSummary",
        "drawn_scores",
        "percentile_interval",
        "rank_summary",
        "resampled_means",
        "resampled_ratios",
    ),
    "cloze": (
        "CLOZE_METRICS",
        "ClozeScores",
        "cloze_metrics",
        "cloze_scores",
    ),
    "compute": (
        "Savings",
        "compute_savings",
        "pareto_frontier",
        "training_flops",
    ),
    "errors": (
        "AlignmentError",
        "BootstrapError",
        "ComputeError",
        "FitError",
        "ForecastError",
        "PlanError",
        "RBridgeError",
        "RankingError",
        "ScoreError",
        "SelectionError",
    ),
    "forecast": (
        "Backtest",
        "accuracy_through_proxy",
        "backtest",
    ),
    "forecast_gate": (
        "ForecastChange",
        "detectable_forecast_change",
        "forecast_change",
    ),
    "gate": (
        "PairedChange",
        "holm",
        "minimum_detectable_change",
        "paired_change",
    ),
    "paired_comparison": (
        "ComparisonWithBest",
        "compare_with_best",
        "drawn_counts",
        "resampled_agreement",
        "resampled_weighted_means",
    ),
    "planning": (
        "StagedSearch",
        "Stage",
        "chance_to_find_best",
        "chance_to_keep_best",
        "gpu_hours",
        "latent_correlation",
        "make_plan",
    ),
    "power_law": (
        "PowerLaw",
        "fit_power_law",
    ),
    "proxies": (
        "ProxyParameters",
        "frequency_weights",
        "proxy_scores",
        "proxy_scores_of_traces",
        "weighted_means",
    ),
    "proxy_names": (
        "PROXIES",
        "STATISTICS",
        "WEIGHTINGS",
        "Proxy",
        "proxy_name",
    ),
    "ranking": (
        "Agreement",
        "PairCounts",
        "agreement",
        "decision_accuracy",
        "kendall_tau_b",
        "pair_counts",
        "ranks",
        "spearman",
    ),
    "regression": (
        "FitWarning",
        "ProxyRegressor",
    ),
    "scores": (
        "TraceMoments",
        "bits_per_byte",
        "bits_per_byte_stderr",
        "rbridge_nll",
        "trace_nll",
        "weighted_nats",
        "weighted_nats_over_test_set",
    ),
    "selection.population": (
        "Population",
        "make_population",
    ),
    "selection.results": ("ScorerTrials",),
    "selection.scorers": ("Scorer",),
    "selection.select": ("select",),
    "token_edits": ("edit_distance",),
    "token_scores": ("TokenScores",),
    "validation": (
        "CrossValidation",
        "Fold",
        "cross_validate",
    ),
    "weights": (
        "minmax_weights",
        "minmax_weights_over_test_set",
        "span_weights",
    ),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
