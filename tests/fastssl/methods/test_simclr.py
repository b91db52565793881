import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastssl.methods.info_nce import negative_columns
from fastssl.methods.method import RunFacts
from fastssl.methods.simclr import SimCLR
from fastssl.models.heads import Head
from pipelines.command.errors import UserError
from pipelines.keys import stable_id
from tests.helpers.batches import TINY, make_batch
from tests.helpers.figures_by_hand import embedding_figures_by_hand, query_gradient_norm
from tests.helpers.methods import narrow

PLAIN = narrow(SimCLR)
SAMPLED = narrow(SimCLR, {"loss.num_negatives": 3, "loss.eqco_alpha": 14})
CONFIGS = {
    "plain": PLAIN,
    "margin": narrow(SimCLR, {"loss.eqco_alpha": 256}),
    "sampled": SAMPLED,
    "sampled-plain": narrow(SimCLR, {"loss.num_negatives": 3}),
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def simclr(config: SimCLR.Config = PLAIN, seed: int = 0) -> SimCLR:
    torch.manual_seed(0)
    run = RunFacts(seed=seed, total_steps=20, num_classes=None)
    return SimCLR(config, TINY, run).to(memory_format=torch.channels_last).train()


def loss_of(embeddings: np.ndarray, negatives: list[list[int]], tau: float, alpha: float | None) -> float:
    """The paper's loss of 2N embeddings [2N, D] as they leave the head, the first view's N first."""
    z = embeddings / np.sqrt((embeddings**2).sum(1, keepdims=True))
    total = 0.0
    for i, others in enumerate(negatives):
        partner = (i + len(z) // 2) % len(z)
        scale = 1.0 if alpha is None else alpha / len(others)
        rivals = sum(math.exp(z[i] @ z[j] / tau) for j in others)
        positive = math.exp(z[i] @ z[partner] / tau)
        total -= math.log(positive / (positive + scale * rivals))
    return total / len(z)


def negatives_of(config: SimCLR.Config, images: int, seed: int, step: int) -> list[list[int]]:
    """The keys of other images that each query is told from."""
    if config.loss.num_negatives is None:
        return [[j for j in range(2 * images) if j % images != i % images] for i in range(2 * images)]
    keys = (seed, step, stable_id("simclr/negatives"))
    drawn = negative_columns(
        keys,
        views=2,
        images=images,
        count=config.loss.num_negatives,
        own=range(images),
        device=torch.device("cpu"),
    )
    return drawn.tolist()


@every_config
def test_loss_and_its_gradient_are_the_papers(config: SimCLR.Config) -> None:
    method, step, rng = simclr(config, seed=4), 3, np.random.default_rng(0)
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        output.retain_grad()
        outputs.append(output)

    method.student.register_forward_hook(keep)
    loss, metrics = method(make_batch(step), step)
    loss.backward()
    (output,) = outputs
    assert output.shape == (16, 16)
    assert output.grad is not None
    view_by_view = [*range(0, 16, 2), *range(1, 16, 2)]  # an image's two views leave the head together
    embeddings, gradient = (rows[view_by_view].double().numpy() for rows in (output.detach(), output.grad))
    negatives = negatives_of(config, 8, 4, step)
    alpha = config.loss.eqco_alpha
    expected = loss_of(embeddings, negatives, 0.1, alpha)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert loss.dtype == torch.float32
    for _ in range(5):
        direction = rng.normal(size=embeddings.shape)
        above, below = (loss_of(embeddings + h * direction, negatives, 0.1, alpha) for h in (1e-5, -1e-5))
        slope = (gradient * direction).sum()
        assert slope == pytest.approx((above - below) / 2e-5, rel=1e-4, abs=1e-5)

    z = embeddings / np.sqrt((embeddings**2).sum(1, keepdims=True))
    positives = (z * np.roll(z, 8, axis=0)).sum(1)
    rivals = np.array([(z[i] @ z[others].T).max() for i, others in enumerate(negatives)])
    assert metrics["loss"].item() == loss.item()
    bound = math.log(1 + (alpha or len(negatives[0]))) - expected
    assert metrics["mi_bound"].item() == pytest.approx(bound, abs=1e-4)
    assert metrics["positive_similarity"].item() == pytest.approx(positives.mean(), abs=1e-5)
    assert metrics["accuracy"].item() == pytest.approx((positives > rivals).mean(), abs=1e-6)
    for name, value in embedding_figures_by_hand(z[:8], z[8:]).items():
        assert metrics[name].item() == pytest.approx(value, rel=1e-4), name
    norms = [
        query_gradient_norm(z[i], z[(i + 8) % 16], z[others], 0.1, alpha or len(others))
        for i, others in enumerate(negatives)
    ]
    assert metrics["query_gradient_mean"].item() == pytest.approx(np.mean(norms), rel=1e-4)
    assert metrics["query_gradient_variance"].item() == pytest.approx(np.var(norms), rel=1e-3, abs=1e-5)
    assert all(value.ndim == 0 and not value.requires_grad for value in metrics.values())


def test_all_negatives_named_are_all_negatives() -> None:
    batch = make_batch(0)
    plain, _ = simclr()(batch, 0)
    named, _ = simclr(narrow(SimCLR, {"loss.num_negatives": 14, "loss.eqco_alpha": 14}))(batch, 0)
    assert named.item() == pytest.approx(plain.item(), rel=1e-6)


def test_views_share_their_batch_norm_statistics() -> None:
    method, batch = simclr(), make_batch(0)
    linear, norm = method.student.get_submodule("projector.0"), method.student.get_submodule("projector.1")
    assert isinstance(norm, nn.BatchNorm1d)
    with torch.no_grad():
        hidden = linear(copy.deepcopy(method.encoder)(torch.cat(batch.each_view())))
    method(batch, 0)
    assert norm.num_batches_tracked == 1
    torch.testing.assert_close(norm.running_mean, 0.1 * hidden.mean(0), rtol=1e-4, atol=1e-6)


def test_an_images_views_go_through_the_network_one_after_the_other() -> None:
    method, batch, seen = simclr(), make_batch(0), []
    method.student.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    method(batch, 0)
    (images,) = seen
    for view, expected in enumerate(batch.each_view()):
        assert torch.equal(images[view::2], expected)
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_head_is_a_batch_norm_at_each_linear_layer_without_biases() -> None:
    head = Head(2048, SimCLR.Config().projector)
    kinds = [type(part).__name__ for part in head]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]
    shapes = {name: tuple(p.shape) for name, p in head.named_parameters()}
    norms = {f"{i}.{name}": (size,) for i, size in ((1, 2048), (4, 128)) for name in ("weight", "bias")}
    assert shapes == {"0.weight": (2048, 2048), "3.weight": (128, 2048), **norms}


def test_negatives_change_with_the_loaders_step_and_the_seed() -> None:
    """The loader counts the parts of a step, so that each draws its own."""
    batch = make_batch(0)

    def loss(seed: int, loader_step: int) -> float:
        value, _ = simclr(SAMPLED, seed)(replace(batch, step=loader_step), 0)
        return value.item()

    assert loss(0, 0) == loss(0, 0)
    assert len({loss(0, 0), loss(1, 0), loss(0, 1)}) == 3


def test_more_negatives_than_other_views_are_refused() -> None:
    too_many = simclr(narrow(SimCLR, {"loss.num_negatives": 15}))
    with pytest.raises(UserError, match=r"^simclr: num_negatives 15 but 8 images have 14 [^\n]+$"):
        too_many(make_batch(0), 0)
