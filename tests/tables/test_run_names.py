"""Run, parameters, tokens and step are read from names of checkpoints, and never guessed."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rbridge_tasks.tables.run_names import count, read_name

B = 1e9


@pytest.mark.parametrize(
    ("model", "revision", "expected"),
    [
        ("allenai/OLMo-1B-hf", "step1000-tokens4B", ("OLMo-hf", B, 4e9, 1000)),
        ("allenai/OLMo-2-0425-1B", "stage1-step150000-tokens630B", ("OLMo-2-0425", B, 630e9, 150000)),
        ("allenai/OLMo-2-0425-1B", "main", ("OLMo-2-0425", B, None, None)),
        ("meta-llama/Llama-3.1-8B", None, ("Llama-3.1", 8e9, None, None)),
        ("meta-llama/Llama-3.1-8B-Instruct", None, ("Llama-3.1-Instruct", 8e9, None, None)),
        ("TinyLlama/TinyLlama-1.1B-step-50K-105b", None, ("TinyLlama", 1.1e9, 105e9, 50_000)),
        ("demo_out/proxy/step250-tokens512K", None, ("proxy", None, 512_000, 250)),
        ("/ckpts/dclm-97.9M/step250-tokens512K/hf", None, ("dclm", 97.9e6, 512_000, 250)),
        ("/ckpts/97.9M/dclm/checkpoint-500", None, ("dclm", 97.9e6, None, 500)),
        ("/ckpts/dclm/97.9M/checkpoint-500", None, ("dclm", 97.9e6, None, 500)),
        ("97.9M", None, ("97.9M", 97.9e6, None, None)),
        (r"C:\ckpts\dclm-1b\step10-tokens1B", None, ("dclm", B, B, 10)),
        ("/ckpts/dclm/global_step2000", None, ("dclm", None, None, 2000)),
        ("/ckpts/dclm/0002000", None, ("dclm", None, None, 2000)),
        ("/ckpts/dclm-step2000", None, ("dclm", None, None, 2000)),
        ("/ckpts/dclm-1b-100Btokens", None, ("dclm", B, 100e9, None)),
        ("/ckpts/dclm_350BT", None, ("dclm", None, 350e9, None)),
        ("/hub/models--org--dclm-1b/snapshots/" + "a1" * 20, None, ("dclm", B, None, None)),
        ("gpt2", None, ("gpt2", None, None, None)),
        ("/ckpts/dclm-1b/seed1/step10", None, ("dclm@seed1", B, None, 10)),
        ("/ckpts/dclm-1b/checkpoints/seed_2/0002000", None, ("dclm@seed_2", B, None, 2000)),
        ("/ckpts/dclm-1b/seed1-step10", None, ("dclm@seed1", B, None, 10)),
        ("/ckpts/dclm-1b/seed1", None, ("dclm@seed1", B, None, None)),
        ("/ckpts/dclm/1b/seed1/step10", None, ("seed1", B, None, 10)),
        ("/ckpts/seed1/step10", None, ("seed1", None, None, 10)),
    ],
)
def test_parts_of_a_name_are_read(
    model: str, revision: str | None, expected: tuple[str, float | None, float | None, float | None]
) -> None:
    """Of names in use: Hub names, revisions, folders of trainers."""
    name = read_name(model, revision)
    assert (name.run, name.params, name.tokens, name.step) == expected


@pytest.mark.parametrize("size", ["70m", "160m", "1.4b", "12b-deduped"])
def test_steps_of_pythia_are_tokens(size: str) -> None:
    """A step is documented as 2,097,152 tokens; main holds the last of 143,000 steps."""
    model = f"EleutherAI/pythia-{size}"
    assert read_name(model, "step1000").tokens == 1000 * 2_097_152
    assert read_name(model, "step0").tokens == 0
    assert read_name(model).tokens == read_name(model, "step143000").tokens == 299_892_736_000


@pytest.mark.parametrize(
    ("model", "revision"),
    [
        ("/mine/EleutherAI/pythia-160m", "step1000"),
        ("me/pythia-160m", "step1000"),
        ("EleutherAI/pythia-160m-v0", "step1000"),
        ("EleutherAI/pythia-160m", "b" * 40),
        ("allenai/DataDecide-c4-150M", "step1250-seed-default"),
        ("/ckpts/tokens100B-dclm/step100", None),
    ],
)
def test_steps_of_other_models_are_not_tokens(model: str, revision: str | None) -> None:
    """Tokens are unknown if the tokens of a step are, and if a name states only a token budget."""
    assert read_name(model, revision).tokens is None


@pytest.mark.parametrize(
    "model",
    ["microsoft/Phi-3-mini-128k-instruct", "mistralai/Mixtral-8x7B", "allenai/OLMoE-1B-7B-0924", "Qwen2.5-7B-1M"],
)
def test_an_ambiguous_size_is_unknown(model: str) -> None:
    """With a context window, experts or two sizes in the name, params are unknown and the run is the whole name."""
    name = read_name(model)
    assert name.params is None
    assert name.run == model.rpartition("/")[2]


def test_every_size_and_checkpoint_of_a_run_has_the_same_run_name() -> None:
    """Proxy, target and all their steps share the run; other seeds, branches and stages do not."""
    same = [
        read_name("allenai/DataDecide-c4-150M", "step1250-seed-default"),
        read_name("allenai/DataDecide-c4-1B", "step60000-seed-default"),
        read_name("allenai/DataDecide-c4-1B"),
        read_name("/ckpts/DataDecide-c4-1B/step5"),
    ]
    assert {name.run for name in same} == {"DataDecide-c4"}
    assert read_name("allenai/DataDecide-c4-1B", "step5-seed-large-aux-2").run == "DataDecide-c4@seed-large-aux-2"
    assert read_name("org/c4-1B", "cooldown").run == "c4@cooldown"


def test_tokens_of_a_later_stage_are_not_those_of_the_run() -> None:
    """The second stage counts from zero: its tokens are left out with a reason, and it is a separate run."""
    name = read_name("allenai/OLMo-2-0425-1B", "stage2-ingredient1-step23852-tokens51B")
    assert name.tokens is None
    assert "its own stage" in str(name.doubt)
    assert name.run == "OLMo-2-0425@stage2-ingredient1"


@given(model=st.text(max_size=40), revision=st.none() | st.text(max_size=30))
@example("step", "stage2-tokens")
@example("//..//~", "--")
def test_any_text_is_accepted_as_a_name(model: str, revision: str | None) -> None:
    """Any text gives a run; numbers are finite and not negative."""
    name = read_name(model, revision)
    assert name.run or not model
    for number in (name.params, name.tokens, name.step):
        assert number is None or (number >= 0 and math.isfinite(number))


@given(st.integers(1, 10**6), st.sampled_from(["", "k", "M", "B", "t"]))
def test_counts_are_exact(number: int, unit: str) -> None:
    """97.9M is exactly 97,900,000."""
    size = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9, "t": 10**12}[unit]
    assert count(f"{number}{unit}") == number * size
    tenths = count(f"{number / 10:.1f}{unit}")
    assert tenths == pytest.approx(number * size / 10, rel=1e-15)
    assert unit == "" or tenths == number * size // 10
