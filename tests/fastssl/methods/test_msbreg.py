import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fastssl.methods import BYOL
from fastssl.methods.msbreg import (
    CentroidForm,
    MSBReg,
    brownian_directions,
    brownian_loss,
    centroid_loss,
    singular_value_loss,
)
from pipelines.batch import Batch
from pipelines.command.errors import UserError
from pipelines.keys import stable_id, uniforms
from tests.helpers.batches import make_batch, tiny_method
from tests.helpers.figures_by_hand import embedding_figures_by_hand
from tests.helpers.methods import finish_step, narrow
from tests.helpers.moco_by_hand import outputs

CONFIG = narrow(MSBReg, {"lambda_s": 0.01, "lambda_b": 0.5})


def unit_vectors(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def directions_by_hand(seed: int, step: int, rows: range, dim: int) -> np.ndarray:
    """Box and Muller's normals of each row's keyed stream, brought to unit length; float64 [rows, dim]."""
    vectors = []
    for row in rows:
        keys = np.array([seed, step, stable_id("msbreg/brownian-direction"), row])
        numbers = uniforms(keys, 2 * dim)
        normals = np.sqrt(-2 * np.log(1 - numbers[0::2])) * np.cos(2 * np.pi * numbers[1::2])
        vectors.append(normals / np.sqrt((normals**2).sum()))
    return np.array(vectors)


def centroid_by_hand(q: np.ndarray, k: np.ndarray, form: str) -> float:
    num_views, count = q.shape[:2]
    total = 0.0
    for image in range(count):
        if form == "centroids":
            gap = sum(q[:, image]) / num_views - sum(k[:, image]) / num_views
            total += 2 * (gap @ gap)
            continue
        for i in range(num_views):
            others = [k[j, image] for j in range(num_views) if j != i]
            center = sum(others) / len(others)
            if form == "leave_one_out_normalized":
                center = center / np.sqrt(center @ center)
            gap = q[i, image] - center
            total += 2 / num_views * (gap @ gap)
    return total / count


def singular_value_by_hand(z: np.ndarray) -> float:
    """sum (r s_i^2 / sum s_i^2 - 1)^2 of each view's singular values, averaged over the views."""
    values = []
    for view in z:
        shares = np.linalg.svd(view, compute_uv=False) ** 2
        values.append(((len(shares) * shares / shares.sum() - 1) ** 2).sum())
    return float(np.mean(values))


@pytest.mark.parametrize("form", get_args(CentroidForm))
@pytest.mark.parametrize("num_views", [2, 4, 8])
def test_loss_is_the_stated_sum(num_views: int, form: str) -> None:
    config = replace(CONFIG, num_views=num_views, centroid=form)
    method = tiny_method(config, seed=3)
    assert isinstance(method, MSBReg)
    optimizer = torch.optim.SGD(method.student.parameters(), lr=0.05)
    for step in range(2):
        batch = make_batch(step, views=num_views)
        q = np.stack(outputs(method.student, batch.each_view()))
        k = np.stack(outputs(method.teacher, batch.each_view()))
        xi = directions_by_hand(3, step, range(8), 16)
        loss, metrics = method(batch, step)
        centroid, singular_value = centroid_by_hand(q, k, form), singular_value_by_hand(q)
        brownian = sum(q[i, b] @ xi[b] for i in range(num_views) for b in range(8)) / (num_views * 8)
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(centroid + 0.01 * singular_value + 0.5 * brownian, rel=1e-5)
        assert metrics["loss"].item() == loss.item()
        assert metrics["centroid_loss"].item() == pytest.approx(centroid, rel=1e-5)
        assert metrics["singular_value_loss"].item() == pytest.approx(singular_value, rel=1e-4)
        assert metrics["brownian_loss"].item() == pytest.approx(brownian, abs=1e-6)
        for name, value in embedding_figures_by_hand(q[0], k[1]).items():
            assert metrics[name].item() == pytest.approx(value, rel=1e-4), name
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        finish_step(method, step)


def test_two_views_without_the_other_losses_are_byol() -> None:
    byol = tiny_method(narrow(BYOL))
    config = replace(CONFIG, num_views=2, lambda_s=0, lambda_b=0)
    method = tiny_method(config)
    nn.init.normal_(byol.student.get_parameter("predictor.3.weight"))  # the teacher is no longer the student
    method.load_state_dict(byol.state_dict())
    for step in range(2):
        batch = make_batch(step)
        loss, _ = method(batch, step)
        expected, _ = byol(batch, step)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
        for module, target in ((method, loss), (byol, expected)):
            module.zero_grad()
            target.backward()
            finish_step(module, step)
        ours, theirs = (torch.cat([p.grad.flatten() for p in m.student.parameters()]) for m in (method, byol))  # type: ignore[union-attr]
        assert (ours - theirs).norm() < 1e-4 * theirs.norm()  # float32, through some ten layers


def test_leave_one_out_trains_as_byol_over_all_pairs_of_views() -> None:
    q, k = unit_vectors(4, 6, 5).requires_grad_(), unit_vectors(4, 6, 5, seed=1)
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
    all_pairs = 2 * torch.stack([((q[i] - k[j]) ** 2).sum(1).mean() for i, j in pairs]).mean()
    (ours,) = torch.autograd.grad(centroid_loss(q, k, "leave_one_out"), q)
    (theirs,) = torch.autograd.grad(all_pairs, q)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def orthogonal(size: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]


@pytest.mark.parametrize(("count", "dim"), [(12, 4), (4, 4), (4, 12)])
def test_singular_value_loss_of_isotropic_collapsed_and_other_vectors(count: int, dim: int) -> None:
    size = min(count, dim)
    # N > D: three orthonormal bases, with Z'Z = 3 I. N < D: orthonormal rows.
    blocks = [orthogonal(size, seed) for seed in range(max(1, count // dim))]
    isotropic = np.concatenate(blocks) @ orthogonal(dim, 9)[:size]
    np.testing.assert_allclose((isotropic**2).sum(1), 1)
    assert singular_value_loss(torch.tensor(isotropic[None])).item() == pytest.approx(0, abs=1e-24)
    collapsed = torch.tensor(isotropic[:1]).repeat(count, 1)
    assert singular_value_loss(collapsed[None]).item() == pytest.approx(size * (size - 1))
    for seed in range(5):  # and off them, it is what the singular values say, not 0
        moved = isotropic + 0.1 * np.random.default_rng(seed).standard_normal(isotropic.shape)
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        expected = singular_value_by_hand(moved[None])
        assert expected > 1e-3
        assert singular_value_loss(torch.tensor(moved[None])).item() == pytest.approx(expected, rel=1e-9)
        assert singular_value_loss(torch.tensor(moved[None]).float()).item() == pytest.approx(
            expected, rel=1e-4
        )


@pytest.mark.parametrize("shape", [(2, 6, 3), (2, 3, 6), (1, 4, 4)])
def test_gradients_of_the_losses_are_those_of_their_values(shape: tuple[int, int, int]) -> None:
    rows = unit_vectors(*shape).requires_grad_()
    keys, directions = unit_vectors(*shape, seed=1), unit_vectors(*shape[1:], seed=2)
    assert torch.autograd.gradcheck(lambda z: singular_value_loss(functional.normalize(z, dim=2)), rows)
    assert torch.autograd.gradcheck(lambda z: brownian_loss(z, directions), rows)
    if shape[0] > 1:
        assert torch.autograd.gradcheck(lambda z: centroid_loss(z, keys, "leave_one_out"), rows)
        assert torch.autograd.gradcheck(lambda z: centroid_loss(z, keys, "centroids"), rows)


def test_directions_are_keyed_by_seed_step_and_row() -> None:
    whole = brownian_directions(5, 7, 0, 12, 16)
    assert whole.shape == (12, 16)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(whole, directions_by_hand(5, 7, range(12), 16), atol=1e-7)
    parts = [brownian_directions(5, 7, first, rows, 16) for first, rows in ((0, 5), (5, 1), (6, 6))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_directions_are_uniform_on_the_sphere() -> None:
    """First and second moments: 0 and I/D, within 5 standard deviations of the mean of N directions."""
    count, dim = 20000, 6
    directions = brownian_directions(0, 0, 0, count, dim).astype(np.float64)
    np.testing.assert_allclose((directions**2).sum(1), 1, atol=1e-6)
    assert np.abs(directions.mean(0)).max() < 5 * math.sqrt(1 / (dim * count))
    second = directions.T @ directions / count
    fourth = 1 / (dim * (dim + 2))  # E x_i^2 x_j^2 on the sphere; E x_i^4 is three times that
    off_diagonal = second - np.diag(np.diag(second))
    assert np.abs(off_diagonal).max() < 5 * math.sqrt(fourth / count)
    assert np.abs(np.diag(second) - 1 / dim).max() < 5 * math.sqrt((3 * fourth - 1 / dim**2) / count)


def part(batch: Batch, rows: slice) -> Batch:
    """Some of the batch's images, in all their views."""
    return replace(
        batch,
        views=(torch.cat([view[rows] for view in batch.each_view()]),),
        sample_ids=batch.sample_ids[rows],
    )


def test_parts_of_a_batch_get_the_directions_of_the_whole() -> None:
    method = tiny_method(CONFIG)
    for step in range(2):  # a step begins again at row 0
        batch = make_batch(step, views=4)
        for rows in (slice(0, 5), slice(5, 8)):
            accumulated = part(batch, rows)
            q = np.stack(outputs(method.student, accumulated.each_view()))
            _, metrics = method(accumulated, step)
            xi = directions_by_hand(0, step, range(rows.start, rows.stop), 16)
            assert metrics["brownian_loss"].item() == pytest.approx((q * xi).sum(2).mean(), abs=1e-6)
        finish_step(method, step)


def test_other_centroids_are_refused() -> None:
    with pytest.raises(UserError, match="leave_one_out, leave_one_out_normalized, centroids"):
        narrow(MSBReg, {"centroid": "median"})
