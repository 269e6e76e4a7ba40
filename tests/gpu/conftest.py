"""Tests for a GPU; without CUDA each is skipped.

``RBRIDGE_TEST_DEVICE=cpu`` runs the tests that need no CUDA on the CPU, to check the tests themselves.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

PROJECT = Path(__file__).parents[2]
sys.path[:0] = [str(PROJECT / "benchmarks"), str(PROJECT / "examples")]

DEVICE = torch.device(os.environ.get("RBRIDGE_TEST_DEVICE", "cuda:0"))
IS_AVAILABLE = DEVICE.type != "cuda" or torch.cuda.is_available()


@pytest.fixture(autouse=True)
def device() -> torch.device:
    """The device on which models run."""
    if not IS_AVAILABLE:
        pytest.skip("no CUDA device here")
    return DEVICE


@pytest.fixture
def gpu(device: torch.device) -> torch.device:
    """A CUDA device, for tests that need CUDA."""
    if device.type != "cuda":
        pytest.skip("only on a CUDA device")
    return device


@pytest.fixture(autouse=True)
def exact_float32() -> Iterator[None]:
    """Compute products and convolutions in float32, not in TF32, which cuDNN uses by default."""
    matmul, convolutions = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, convolutions


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that take a ``family`` for every architecture of transformers."""
    if "family" in metafunc.fixturenames:
        names = ["every family"]
        if IS_AVAILABLE:
            from tiny_models import families

            names = families()
        metafunc.parametrize("family", names)
