import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fastssl.metrics.uniformity import alignment, uniformity
from tests.helpers.figures_by_hand import alignment_by_hand, uniformity_by_hand


def unit_vectors(count: int, dim: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(count, dim, generator=generator, dtype=torch.float64), dim=1)


def test_alignment_is_the_mean_squared_distance_of_pairs() -> None:
    first, second = unit_vectors(9, 5), unit_vectors(9, 5, seed=1)
    expected = alignment_by_hand(first.numpy(), second.numpy())
    assert alignment(first.float(), second.float()).item() == pytest.approx(expected, rel=1e-6)
    assert alignment(first, first).item() == 0
    assert alignment(first, -first).item() == pytest.approx(4)


@pytest.mark.parametrize(("count", "dim"), [(2, 3), (9, 5), (6, 40)])
def test_uniformity_is_the_log_of_the_mean_potential(count: int, dim: int) -> None:
    rows = unit_vectors(count, dim)
    value = uniformity(rows.float())
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(uniformity_by_hand(rows.numpy()), rel=1e-5)


def test_uniformity_of_known_arrangements() -> None:
    assert uniformity(unit_vectors(1, 6).expand(5, 6)).item() == pytest.approx(0, abs=1e-12)
    assert uniformity(torch.eye(7)).item() == pytest.approx(-4, abs=1e-6)  # orthogonal: |x - y|^2 = 2
    assert uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item() == pytest.approx(-8, abs=1e-6)
    cross = torch.cat([torch.eye(4), -torch.eye(4)])  # each of 8: six at squared distance 2, one at 4
    expected = math.log((6 * math.exp(-4) + math.exp(-8)) / 7)
    assert uniformity(cross).item() == pytest.approx(expected, rel=1e-6)


def test_gradients_are_those_of_the_values() -> None:
    rows = unit_vectors(6, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: uniformity(functional.normalize(z, dim=1)), rows)


def test_a_collapsed_batch_has_finite_gradients() -> None:
    rows = unit_vectors(1, 8).float().repeat(6, 1).requires_grad_()
    uniformity(functional.normalize(rows, dim=1)).backward()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()
