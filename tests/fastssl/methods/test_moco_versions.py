"""MoCo from v1 to S-v2+: what each step of the ladder changes in the method."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastssl.methods import MoCo
from fastssl.models.batch_norm import group_batch_norms
from fastssl.recipes.variant import with_changes
from tests.helpers.batches import make_batch
from tests.helpers.contrastive_by_hand import assert_logged
from tests.helpers.figures_by_hand import embedding_figures_by_hand
from tests.helpers.methods import finish_step
from tests.helpers.moco_by_hand import CONFIG, equation_1, moco, outputs, ring, run_and_watch_the_queue

VERSION_1 = with_changes(
    replace(CONFIG, predictor_on="none", symmetric_loss=False),
    {"projector.layers": 1, "projector.norm": "none"},
)
CONFIGS = {"v2-plus": CONFIG, "s-v2-plus": replace(CONFIG, predictor_on="both"), "v1": VERSION_1}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_loss_is_that_of_each_direction_with_the_queue_of_before(config: MoCo.Config) -> None:
    method = moco(config)
    optimizer = torch.optim.SGD(method.student.parameters(), lr=0.05)
    for step in range(4):
        batch = make_batch(step)
        queue = method.queue.keys.double().numpy().copy()
        q1, q2 = outputs(method.student, batch.each_view())
        k1, k2 = outputs(method.teacher, batch.each_view())
        q, own = (q1, k2)
        expected = equation_1(q1, k2, queue, 0.2)
        if config.symmetric_loss:
            q, own = np.concatenate([q1, q2]), np.concatenate([k2, k1])
            expected += equation_1(q2, k1, queue, 0.2)
        loss, metrics = method(batch, step)
        assert loss.item() == pytest.approx(expected, rel=1e-5)
        assert loss.dtype == torch.float32
        assert metrics["loss"].item() == loss.item()
        of_a_query = {**metrics, "loss": loss.detach() / (len(q) // len(q1))}
        assert_logged(of_a_query, q, own, queue, [range(20)] * len(q), config.loss)
        for name, value in embedding_figures_by_hand(q1, k2).items():
            assert metrics[name].item() == pytest.approx(value, rel=1e-4), name
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        finish_step(method, step)


def test_without_symmetric_loss_each_network_sees_one_view() -> None:
    method = moco(VERSION_1)
    seen: dict[str, list[Tensor]] = {"student": [], "teacher": []}
    for name, views in seen.items():
        getattr(method, name).register_forward_pre_hook(
            lambda module, inputs, views=views: views.append(inputs[0])
        )
    batch = make_batch(0)
    method(batch, 0)
    first, second = batch.each_view()
    assert [len(views) for views in seen.values()] == [1, 1]
    assert torch.equal(seen["student"][0], first)
    assert torch.equal(seen["teacher"][0], second)


@pytest.mark.parametrize(
    ("config", "views"),
    [
        (replace(CONFIG, enqueue="all"), (0, 1)),
        (replace(VERSION_1, enqueue="all"), (1,)),
        (replace(VERSION_1, enqueue="random_view"), (1,)),
    ],
)
def test_keys_of_both_views_or_of_view_2_alone_join_the_queue(
    config: MoCo.Config, views: tuple[int, ...]
) -> None:
    method = moco(config)
    start = method.queue.keys.numpy().copy()
    seen = run_and_watch_the_queue(method, 4)
    expected = ring(start, [keys[view] for keys in seen for view in views])
    np.testing.assert_allclose(method.queue.keys.numpy(), expected, atol=1e-5)


def head_layers(network: nn.Sequential) -> list[tuple[int, int]]:
    """Widths of all linear layers after the encoder."""
    parts = [part for head in network[1:] for part in head.modules()]
    return [(part.in_features, part.out_features) for part in parts if isinstance(part, nn.Linear)]


def test_heads_of_each_version() -> None:
    one = moco(VERSION_1)
    width = one.encoder.feature_dim
    assert head_layers(one.student) == head_layers(one.teacher) == [(width, 16)]
    two = moco(with_changes(VERSION_1, {"projector.layers": 2}))
    assert head_layers(two.student) == head_layers(two.teacher) == [(width, 32), (32, 16)]
    assert not any(isinstance(part, nn.BatchNorm1d) for part in two.modules())
    projector, predictor = [(width, 32), (32, 16)], [(16, 32), (32, 16)]
    plus = moco()
    assert head_layers(plus.student) == projector + predictor
    assert head_layers(plus.teacher) == projector
    symmetric = moco(replace(CONFIG, predictor_on="both"))
    assert head_layers(symmetric.student) == head_layers(symmetric.teacher) == projector + predictor


# --- shuffling BN -------------------------------------------------------------------------------------------

PAIRINGS = (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))  # of four images


def shuffled(images_per_group: int, seed: int = 0) -> MoCo:
    config = with_changes(CONFIG, {"loss.num_negatives": 8, "teacher.shuffling_bn": True, "enqueue": "all"})
    method = moco(config, seed=seed)
    group_batch_norms(method, images_per_group, 4)
    return method


def pairing_of(method: MoCo, view: Tensor, keys: np.ndarray) -> int:
    """Which two images of four were normalized together, for the teacher to give these keys."""
    fits = []
    for pairs in PAIRINGS:
        expected = np.empty_like(keys)
        for pair in pairs:
            together = view[list(pair)].repeat(2, 1, 1, 1)  # a group alone, twice: the teacher takes two
            (rows,) = outputs(method.teacher, (together,))
            expected[list(pair)] = rows[:2]
        fits.append(np.allclose(keys, expected, atol=1e-4))
    assert sum(fits) == 1
    return fits.index(True)


def pairings(seed: int, steps: int) -> list[tuple[int, int]]:
    """For both views of each step, with whom the teacher normalized whom."""
    method, found = shuffled(2, seed), []
    for step in range(steps):
        batch = make_batch(step, size=4)
        before = copy.deepcopy(method)
        method(batch, step)
        finish_step(method, step)
        k1, k2 = np.split(method.queue.keys.numpy(), 2)  # in the order of the batch
        first, second = batch.each_view()
        found.append((pairing_of(before, first, k1), pairing_of(before, second, k2)))
    return found


def test_shuffling_bn_changes_the_company_of_images() -> None:
    found = pairings(0, 5)
    assert {pairing for pair in found for pairing in pair} == {0, 1, 2}
    assert any(first != second for first, second in found)  # each view is shuffled by itself
    assert found != pairings(1, 5)


def test_shuffling_bn_changes_nothing_where_all_share_their_statistics() -> None:
    method = shuffled(4)
    for step in range(3):
        batch = make_batch(step, size=4)
        keys = np.concatenate(outputs(method.teacher, batch.each_view()))
        method(batch, step)
        finish_step(method, step)
        np.testing.assert_allclose(method.queue.keys.numpy(), keys, atol=1e-5)


def test_accumulated_parts_are_shuffled_apart() -> None:
    """The number of a shuffle is the loader's, of which a step of two parts takes two."""
    method = shuffled(2)
    numbers = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        numbers.append([int(row) for row in inputs[0][:, 0, 0, 0]])

    method.teacher.register_forward_pre_hook(note)
    marked = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 16, 16)
    for part in range(8):
        batch = replace(make_batch(0, size=4), step=part, views=(torch.cat([marked, marked]),))
        method(batch, 0)
    assert len({tuple(order) for order in numbers}) > 4
