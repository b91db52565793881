import itertools
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fastssl.methods import Method, SimCLR, SiMo
from fastssl.methods.info_nce import (
    draw_keys,
    draw_subsets,
    info_nce,
    mutual_information_bound,
    negative_columns,
)
from pipelines.command.errors import UserError
from tests.helpers.batches import make_batch, tiny_method
from tests.helpers.contrastive_by_hand import equation_10
from tests.helpers.methods import narrow

CPU = torch.device("cpu")


def unit_vectors(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.normal(size=shape)
    return vectors / np.sqrt((vectors**2).sum(-1, keepdims=True))


def draw(seed: int, queries: int, negatives: int, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors: queries [B, D], their own keys [B, D], K other keys each [B, K, D]."""
    rng = np.random.default_rng(seed)
    return (
        unit_vectors(rng, queries, dim),
        unit_vectors(rng, queries, dim),
        unit_vectors(rng, queries, negatives, dim),
    )


def loss_of(q: Tensor, own: Tensor, others: Tensor, tau: float, alpha: float | None) -> Tensor:
    return info_nce((q * own).sum(1) / tau, (others @ q[:, :, None])[:, :, 0] / tau, alpha)


@pytest.mark.parametrize("negatives", [1, 4, 16, 100])
@pytest.mark.parametrize("alpha", [0.5, 16.0, 256.0, 65536.0])
@pytest.mark.parametrize("tau", [0.07, 0.2])
def test_value_and_gradient_are_those_of_equation_10(negatives: int, alpha: float, tau: float) -> None:
    arrays = draw(0, 6, negatives, 5)
    q, own, others = (torch.from_numpy(array) for array in arrays)
    q.requires_grad_()
    losses = loss_of(q, own, others, tau, alpha)
    losses.sum().backward()
    assert q.grad is not None
    single = loss_of(q.detach().float(), own.float(), others.float(), tau, alpha)
    assert single.dtype == torch.float32
    for i, (query, key, rivals) in enumerate(zip(*arrays, strict=True)):
        expected = equation_10(query, key, rivals, tau, alpha)
        assert losses[i].item() == pytest.approx(expected, rel=1e-7, abs=1e-8)
        assert single[i].item() == pytest.approx(expected, rel=1e-5, abs=1e-5)
        # its derivative: -(1 - s_0 / Z) k_0 / tau + sum_i (alpha / K) (s_i / Z) k_i / tau
        s_0, s = np.exp(query @ key / tau), np.exp(rivals @ query / tau)
        total = s_0 + alpha / negatives * s.sum()
        gradient = -(1 - s_0 / total) * key / tau + alpha / negatives / tau * (s / total) @ rivals
        np.testing.assert_allclose(q.grad[i].numpy(), gradient, rtol=1e-6, atol=1e-7)
        for axis in np.eye(5) * 1e-5:  # and that derivative is equation 10's
            above, below = (equation_10(query + h, key, rivals, tau, alpha) for h in (axis, -axis))
            assert (above - below) / 2e-5 == pytest.approx(gradient @ axis * 1e5, abs=1e-4)


def test_alpha_k_is_plain_info_nce() -> None:
    rng = np.random.default_rng(2)
    p = torch.from_numpy(rng.normal(size=7) * 5).float()
    n = torch.from_numpy(rng.normal(size=(7, 12)) * 5).float()
    plain = torch.nn.functional.cross_entropy(
        torch.column_stack([p, n]).double(), torch.zeros(7, dtype=torch.long), reduction="none"
    )
    for alpha in (None, 12.0):
        torch.testing.assert_close(info_nce(p, n, alpha).double(), plain, rtol=2e-6, atol=2e-6)
    assert not torch.allclose(info_nce(p, n, 13.0).double(), plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("alpha", [None, 65536.0])
def test_half_precision_logits_do_not_overflow(dtype: torch.dtype, alpha: float | None) -> None:
    """exp(14.3), that of a similarity of 1 at tau 0.07, is beyond float16; so is alpha 65536 itself."""
    p = torch.tensor([-14.3, 14.3, 0.0, -6e4, 6e4], dtype=dtype, requires_grad=True)
    n = torch.stack([-p.detach(), torch.full_like(p, 14.3)], 1).requires_grad_()
    losses = info_nce(p, n, alpha)
    assert losses.dtype == torch.float32
    logits = np.array([[float(a), *map(float, b)] for a, b in zip(p.detach(), n.detach(), strict=True)])
    logits[:, 1:] += math.log((alpha or 2) / 2)
    top = logits.max(1, keepdims=True)
    expected = (top[:, 0] - logits[:, 0]) + np.log(np.exp(logits - top).sum(1))
    np.testing.assert_allclose(losses.detach().numpy(), expected, rtol=1e-5, atol=1e-5)
    losses.sum().backward()
    for tensor in (p, n):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


def test_mutual_information_bound_is_log_1_plus_k_e_m_over_tau_less_the_loss() -> None:
    loss, tau = torch.tensor(0.7), 0.2
    for negatives, alpha in itertools.product((4, 256), (None, 256.0, 65536.0)):
        m = 0.0 if alpha is None else tau * math.log(alpha / negatives)
        expected = math.log(1 + negatives * math.exp(m / tau)) - 0.7
        assert mutual_information_bound(loss, negatives, alpha).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("views", "images", "count"), [(1, 7, 3), (1, 7, 6), (2, 7, 3), (2, 7, 12), (2, 2, 1)]
)
def test_negatives_are_distinct_keys_of_other_images(views: int, images: int, count: int) -> None:
    seen = set()
    for step in range(30):
        keys, own = (0, step, 5), range(images)
        columns = negative_columns(keys, views=views, images=images, count=count, own=own, device=CPU)
        assert columns.shape == (views * images, count)
        assert columns.dtype == torch.int64
        for query, row in enumerate(columns.tolist()):
            assert len(set(row)) == count
            assert all(0 <= key < views * images and key % images != query % images for key in row)
            seen |= {(query, key) for key in row}
    assert len(seen) == views * images * views * (images - 1)  # every other key may be drawn


def test_negatives_depend_on_their_keys_alone() -> None:
    def columns(*keys: int) -> list[list[int]]:
        drawn = negative_columns(keys, views=2, images=9, count=4, own=range(9), device=CPU)
        return drawn.tolist()

    first = columns(1, 2, 3)
    torch.manual_seed(5)
    assert columns(1, 2, 3) == first
    assert all(columns(*keys) != first for keys in [(0, 2, 3), (1, 0, 3), (1, 2, 0)])
    assert len({tuple(row) for row in first}) > 9  # each query its own
    together = draw_subsets(np.array([1, 2]), np.arange(10), 40, 5)
    alone = draw_subsets(np.array([1, 2]), np.array([7]), 40, 5)
    np.testing.assert_array_equal(together[7], alone[0])


@pytest.mark.parametrize("count", [3, 22])
def test_negatives_of_a_share_of_the_images_are_those_of_the_whole(count: int) -> None:
    def columns(own: range) -> Tensor:
        return negative_columns((4, 5), views=2, images=12, count=count, own=own, device=CPU)

    whole = columns(range(12)).view(2, 12, count)
    for share in (range(0, 4), range(4, 12), range(11, 12)):
        expected = whole[:, share.start : share.stop].flatten(0, 1)
        assert torch.equal(columns(share), expected)


def test_every_subset_is_equally_likely() -> None:
    rows = draw_subsets(np.array([4, 2]), np.arange(20_000), 6, 3)
    counts = Counter(tuple(sorted(row)) for row in rows.tolist())
    assert len(counts) == math.comb(6, 3)
    assert max(abs(count - 1000) for count in counts.values()) < 5 * math.sqrt(1000 * 0.95)


def test_drawn_keys_are_distinct_and_change_with_the_step() -> None:
    draws = [draw_keys((0, step, 9), candidates=10, count=4, device=CPU).tolist() for step in range(20)]
    assert all(len(set(numbers)) == 4 and 0 <= min(numbers) <= max(numbers) < 10 for numbers in draws)
    assert {number for numbers in draws for number in numbers} == set(range(10))


@pytest.mark.parametrize("kind", [SimCLR, SiMo])
def test_a_methods_negatives_change_with_the_loaders_step_and_the_seed(kind: type[Method]) -> None:
    """The loader counts the parts of a step, so that each draws its own."""
    config, batch = narrow(kind, {"loss.num_negatives": 3}), make_batch(0)
    first, other = tiny_method(config), tiny_method(config, seed=1)
    other.load_state_dict(first.state_dict())

    def loss(method: Method, loader_step: int) -> float:
        value, _ = method(replace(batch, step=loader_step), 0)
        return value.item()

    assert loss(first, 0) == loss(first, 0)
    assert len({loss(first, 0), loss(other, 0), loss(first, 1)}) == 3


@pytest.mark.parametrize(
    ("kind", "count", "said"),
    [(SimCLR, 15, "but 8 images have 14 "), (SiMo, 9, "but the batch holds 8 images: ")],
)
def test_more_negatives_than_the_batch_has_are_refused(kind: type[Method], count: int, said: str) -> None:
    method = tiny_method(narrow(kind, {"loss.num_negatives": count}))
    with pytest.raises(UserError, match=rf"^{kind.Config.kind}: num_negatives {count} {said}[^\n]+$"):
        method(make_batch(0), 0)
