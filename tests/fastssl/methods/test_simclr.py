import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastssl.methods.info_nce import negative_columns
from fastssl.methods.simclr import SimCLR
from fastssl.models.heads import Head
from pipelines.keys import stable_id
from tests.helpers.batches import make_batch, tiny_method
from tests.helpers.contrastive_by_hand import assert_logged, assert_slopes, mean_loss, unit
from tests.helpers.figures_by_hand import embedding_figures_by_hand
from tests.helpers.methods import narrow

CONFIGS = {
    "plain": narrow(SimCLR),
    "margin": narrow(SimCLR, {"loss.eqco_alpha": 256}),
    "sampled": narrow(SimCLR, {"loss.num_negatives": 3, "loss.eqco_alpha": 14}),
    "sampled-plain": narrow(SimCLR, {"loss.num_negatives": 3}),
}


def negatives_of(config: SimCLR.Config, images: int, seed: int, step: int) -> list[list[int]]:
    """The keys of other images that each query is told from."""
    count = config.loss.num_negatives
    if count is None:
        return [[j for j in range(2 * images) if j % images != i % images] for i in range(2 * images)]
    keys, own = (seed, step, stable_id("simclr/negatives")), range(images)
    device = torch.device("cpu")
    drawn = negative_columns(keys, views=2, images=images, count=count, own=own, device=device)
    return drawn.tolist()


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_loss_and_its_gradient_are_the_papers(config: SimCLR.Config) -> None:
    method, step = tiny_method(config, seed=4), 3
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

    def loss_of(rows: np.ndarray) -> float:
        z = unit(rows)
        return mean_loss(z, np.roll(z, 8, axis=0), z, negatives, config.loss)

    assert loss.dtype == torch.float32
    assert metrics["loss"].item() == loss.item()
    assert_slopes(gradient, loss_of, embeddings)
    z = unit(embeddings)
    assert_logged(metrics, z, np.roll(z, 8, axis=0), z, negatives, config.loss)
    for name, value in embedding_figures_by_hand(z[:8], z[8:]).items():
        assert metrics[name].item() == pytest.approx(value, rel=1e-4), name


def test_all_negatives_named_are_all_negatives() -> None:
    batch = make_batch(0)
    plain, _ = tiny_method(narrow(SimCLR))(batch, 0)
    named, _ = tiny_method(narrow(SimCLR, {"loss.num_negatives": 14, "loss.eqco_alpha": 14}))(batch, 0)
    assert named.item() == pytest.approx(plain.item(), rel=1e-6)


def test_views_share_their_batch_norm_statistics() -> None:
    method, batch = tiny_method(narrow(SimCLR)), make_batch(0)
    linear, norm = method.student.get_submodule("projector.0"), method.student.get_submodule("projector.1")
    assert isinstance(norm, nn.BatchNorm1d)
    with torch.no_grad():
        hidden = linear(copy.deepcopy(method.encoder)(torch.cat(batch.each_view())))
    method(batch, 0)
    assert norm.num_batches_tracked == 1
    torch.testing.assert_close(norm.running_mean, 0.1 * hidden.mean(0), rtol=1e-4, atol=1e-6)


def test_an_images_views_go_through_the_network_one_after_the_other() -> None:
    method, batch, seen = tiny_method(narrow(SimCLR)), make_batch(0), []
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
