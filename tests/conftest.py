"""Settings for every test."""

import sys

import pytest

MAX_TORCH_THREADS = 2  # more only slows the small networks of the tests down, and a shared machine with them


@pytest.fixture(autouse=True)
def few_torch_threads():
    """Bound torch's threads without importing torch into tests that do not use it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() > MAX_TORCH_THREADS:
        torch.set_num_threads(MAX_TORCH_THREADS)
