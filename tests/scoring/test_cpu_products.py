"""Linear layers computed by oneDNN equal torch's; unsupported ones are left to torch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from rbridge_tasks.scoring.cpu import Factor, LinearByOneDNN, has_onednn, linear
from rbridge_tasks.scoring.cpu import products as products_module

from ..error_bounds import assert_within, model_bound
from ..support import tiny_model
from ..tensor_bounds import product_bound, roundoff

pytestmark = pytest.mark.skipif(not has_onednn(), reason="no oneDNN for this processor")


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that collects which library computed each product of ``linear``."""
    names: list[str] = []
    by_torch, by_onednn = functional.linear, torch.ops.mkldnn._linear_pointwise

    def noted(name: str, function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        return lambda *args: (names.append(name), function(*args))[1]

    module = SimpleNamespace(linear=noted("torch", by_torch))  # layers of models still call torch's own
    monkeypatch.setattr(products_module, "functional", module)
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", noted("oneDNN", by_onednn))
    return names


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("shape", [(1, 64), (333, 64), (2, 5, 64), (4, 1, 3, 64)])
def test_equals_torch(shape: tuple[int, ...], products: list[str], *, biased: bool) -> None:
    """States of any rank, contiguous or a view with steps, with and without a bias."""
    torch.manual_seed(0)
    states, weight, bias = torch.randn(shape), torch.randn(100, 64), torch.randn(100) if biased else None
    with torch.inference_mode():
        product_of_whole = linear(states, weight, bias)
        product_of_views = linear(states[..., ::2], weight[:, 1::2], bias)
    assert products == ["oneDNN", "oneDNN"]
    exact = bias.double() if biased else None
    of_bias = 0.0 if exact is None else roundoff(torch.float32) * exact.abs()
    for product, left, right in (
        (product_of_whole, states, weight),
        (product_of_views, states[..., ::2], weight[:, 1::2]),
    ):
        bound = product_bound(left, right.T, added=1) + of_bias
        assert_within(product, functional.linear(left.double(), right.double(), exact), bound)


@pytest.mark.parametrize(("columns", "rows"), [(1, 7), (100, 64), (333, 1)])
def test_a_factor_of_many_products(columns: int, rows: int, products: list[str]) -> None:
    """With an offset for each column and a factor that is a view with steps."""
    torch.manual_seed(0)
    factor, first, offset = torch.randn(2 * columns, 48)[::2], torch.randn(rows, 48), torch.randn(columns)
    with torch.inference_mode():
        product = Factor(factor).linear(first, offset)
    expected = first.double() @ factor.double().T + offset.double()
    bound = product_bound(first, factor.T, added=1) + roundoff(torch.float32) * offset.double().abs()
    assert_within(product, expected, bound)
    assert products == ["oneDNN"]


def test_a_factor_that_onednn_does_not_multiply(products: list[str]) -> None:
    """Torch multiplies other dtypes, and raises its error for widths that do not match."""
    with torch.inference_mode():
        product = Factor(torch.ones(5, 4).double()).linear(torch.ones(3, 4).double(), torch.ones(5).double())
        assert (product == 5).all()
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            Factor(torch.ones(5, 4)).linear(torch.ones(3, 6), torch.ones(5))
    assert products == ["torch", "torch"]


class Quantised(torch.Tensor):
    """A subclass of tensor, which may define its own product."""


@pytest.mark.parametrize(
    ("states", "weight"),
    [
        (torch.ones(3, 4).bfloat16(), torch.ones(5, 4).bfloat16()),
        (torch.ones(3, 4).double(), torch.ones(5, 4).double()),
        (torch.ones(4), torch.ones(5, 4)),
        (torch.ones(0, 4), torch.ones(5, 4)),
        (torch.ones(3, 4), torch.ones(5, 4).as_subclass(Quantised)),
    ],
    ids=["bfloat16", "float64", "one state", "no states", "a tensor subclass"],
)
def test_the_rest_is_left_to_torch(states: torch.Tensor, weight: torch.Tensor, products: list[str]) -> None:
    """Inputs that oneDNN would refuse, or that another class multiplies."""
    with torch.inference_mode():
        product = linear(states, weight)
    assert products == ["torch"]
    assert product.shape == (*states.shape[:-1], 5)


def test_gradients_and_autocast_are_left_to_torch(products: list[str]) -> None:
    """oneDNN's product has no gradient and ignores autocast."""
    weight = torch.nn.Parameter(torch.ones(5, 4))
    linear(torch.ones(3, 4), weight).sum().backward()
    assert weight.grad is not None
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(torch.ones(3, 4), weight).dtype == torch.bfloat16
    assert products == ["torch", "torch"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")
def test_shapes_used_once_do_not_fill_memory() -> None:
    """Products of a thousand shapes: memory grows by less than 50 MiB; oneDNN by itself would add 500."""
    code = """if True:
        import os
        import torch
        from rbridge_tasks.scoring.cpu import LinearByOneDNN
        def resident():
            return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmRSS"))
        weight = torch.ones(96, 64)
        with torch.inference_mode(), LinearByOneDNN():
            for rows in range(1, 1000):
                if rows == 100:
                    before = resident()
                torch.nn.functional.linear(torch.ones(rows, 64), weight)
        assert not [name for name in os.environ if name.endswith("CACHE_CAPACITY")]
        print(resident() - before)
    """
    environment = {name: value for name, value in os.environ.items() if not name.endswith("CACHE_CAPACITY")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 50


def test_widths_that_do_not_match_raise_torchs_error() -> None:
    """oneDNN would read memory past its end."""
    with torch.inference_mode(), pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        linear(torch.ones(3, 4), torch.ones(5, 6))


def test_every_linear_layer_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN computes every linear layer inside the mode and none after it; logits agree to rounding."""
    model, ids = tiny_model("llama", 50), torch.arange(20)[None]
    linear(torch.ones(2, 2), torch.ones(2, 2))  # the first product of a process tries oneDNN with one of its own
    by_onednn, shapes = torch.ops.mkldnn._linear_pointwise, []
    monkeypatch.setattr(
        torch.ops.mkldnn, "_linear_pointwise", lambda *args: (shapes.append(args[1].shape), by_onednn(*args))[1]
    )
    with torch.inference_mode():
        expected = model(ids).logits
        assert not shapes
        with LinearByOneDNN():
            logits = model(ids).logits
        layers = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
        assert sorted(shapes) == sorted(layer.weight.shape for layer in layers)
        model(ids)
        assert len(shapes) == len(layers)
    bound = model_bound(expected.log_softmax(-1), positions=20, vocabulary=50)
    assert_within(logits, expected, bound)
