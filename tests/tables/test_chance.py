"""Accuracy of guessing, by the number of answers to choose from."""

from __future__ import annotations

import pytest

from rbridge_tasks.tables.chance import chance_of


@pytest.mark.parametrize(
    ("benchmark", "chance"),
    [
        ("agieval_sat_en", 1 / 4),
        ("agieval_aqua_rat", 1 / 5),
        ("agieval_lsat_ar", 1 / 5),
        ("agieval_math", 0.0),
        ("agieval_gaokao_mathcloze", 0.0),
        ("mmlu_pro_math", 1 / 10),
        ("boolq_seq", 1 / 2),
        ("surprise", None),
    ],
)
def test_the_longest_known_name_decides(benchmark: str, chance: float | None) -> None:
    """AGIEval has benchmarks of five choices and written answers; subjects of a benchmark have its chance."""
    assert chance_of(benchmark, "acc") == chance
