import math

import numpy as np
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


def test_uniformity_of_uniform_vectors_is_a_bessel_function() -> None:
    """E exp(4 x.y) of uniform vectors is 0F1(; D/2; 4), for y may be fixed (Watson and Williams, 1956)."""
    count, dim = 500, 16
    bessel, term = 0.0, 1.0
    for n in range(30):
        bessel += term
        term *= 4 / ((dim / 2 + n) * (n + 1))
    second_moment, term = 0.0, 1.0  # E exp(8 x.y) = 0F1(; D/2; 16)
    for n in range(60):
        second_moment += term
        term *= 16 / ((dim / 2 + n) * (n + 1))
    # pairs of uniform vectors are pairwise independent: the potentials' mean has their variance / pairs
    relative_std = math.sqrt((second_moment / bessel**2 - 1) / (count * (count - 1) / 2))
    value = uniformity(unit_vectors(count, dim)).item()
    assert value == pytest.approx(math.log(bessel) - 4, abs=5 * relative_std)


def test_gradients_are_those_of_the_formula() -> None:
    rows = unit_vectors(6, 4).requires_grad_()
    loss = uniformity(functional.normalize(rows, dim=1))
    loss.backward()
    assert rows.grad is not None
    for i, j in ((0, 0), (3, 2), (5, 3)):
        moved = []
        for change in (1e-5, -1e-5):
            other = rows.detach().numpy().copy()
            other[i, j] += change
            other /= np.linalg.norm(other, axis=1, keepdims=True)
            moved.append(uniformity_by_hand(other))
        assert rows.grad[i, j].item() == pytest.approx((moved[0] - moved[1]) / 2e-5, rel=1e-5, abs=1e-9)


def test_a_collapsed_batch_has_finite_gradients() -> None:
    rows = unit_vectors(1, 8).float().repeat(6, 1).requires_grad_()
    uniformity(functional.normalize(rows, dim=1)).backward()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()


def test_descent_spreads_vectors() -> None:
    rows = (unit_vectors(1, 3) + 0.1 * unit_vectors(4, 3, seed=1)).requires_grad_()
    for _ in range(300):
        loss = uniformity(functional.normalize(rows, dim=1))
        (gradient,) = torch.autograd.grad(loss, rows)
        rows = functional.normalize(rows - 0.1 * gradient, dim=1).detach().requires_grad_()
    # four points on a sphere end as a tetrahedron: all squared distances 8/3
    assert loss.item() == pytest.approx(-2 * 8 / 3, abs=1e-4)
