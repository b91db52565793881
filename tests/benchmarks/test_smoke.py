"""The first checks on a new card: on a CPU those that can run there, and the whole on a GPU."""

import subprocess
import sys
from typing import Any

import pytest
import torch

from benchmarks import smoke
from fastssl.optim.reference import update_tensor
from tests.helpers import ROOT

CPU = torch.device("cpu")


def test_optimizers_are_compared_with_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    assert smoke.optimizers(CPU, "foreach").endswith("of the largest off")

    def wrong(*tensors: torch.Tensor, **numbers: float) -> None:
        update_tensor(*tensors, **numbers | {"lr": 1.01 * numbers["lr"]})  # type: ignore[arg-type]

    monkeypatch.setattr("fastssl.optim.multi_tensor.update_tensor", wrong)
    with pytest.raises(AssertionError, match="of the largest off"):
        smoke.optimizers(CPU, "foreach")


def test_batch_norms_are_compared_with_exact_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """With torch's own, as the kernels take no CPU tensors."""
    assert smoke.batch_norms(CPU).endswith("of the largest off")

    def wrong(module: Any) -> Any:
        module[0].eps = 0.1
        return module

    monkeypatch.setattr(smoke, "fuse_batch_norms", wrong)
    with pytest.raises(AssertionError, match="of the largest off"):
        smoke.batch_norms(CPU)


@pytest.mark.gpu
def test_all_checks_on_a_gpu() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks.smoke"], cwd=ROOT, check=False)
    assert done.returncode == 0
