"""AMDIM against its loss written out, place by place."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fastssl.methods import AMDIM, Method, build_method
from fastssl.methods.amdim import _DRAWS
from fastssl.models import AMDIMEncoder, Backbone, DenseResNet, ResNet
from fastssl.models.backbone import build_backbone
from pipelines.batch import Batch
from pipelines.command.errors import UserError
from pipelines.keys import row_uniforms
from tests.helpers.batches import make_batch, tiny_method
from tests.helpers.one_step import assert_step, in_float64

CONFIG = AMDIM.Config(clip=2.0, penalty_weight=0.3)


def draws(batch: Batch) -> np.ndarray:
    return row_uniforms(np.array([0, batch.step, _DRAWS]), np.arange(len(batch)), 3)


def nce(sources: Tensor, targets: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Of sources [B, D] and maps [B, D, H, W]: the loss, and the mean square of unclipped scores."""
    places = [list(image.flatten(1).T) for image in targets]
    losses, squares = [], []
    for b, source in enumerate(sources):
        raw = [[source @ vector / len(source) ** 0.5 for vector in image] for image in places]
        clipped = [[clip * torch.tanh(score / clip) for score in image] for image in raw]
        others = sum(torch.exp(s) for i, image in enumerate(clipped) if i != b for s in image)
        losses += [-(own - torch.log(torch.exp(own) + others)) for own in clipped[b]]
        squares += [score**2 for image in raw for score in image]
    return torch.stack(losses).mean(), torch.stack(squares).mean()


def test_a_step_is_the_formulas() -> None:
    method, batch = in_float64(CONFIG, size=3)
    drawn = draws(batch)
    flipped = [
        torch.stack(
            [image.flip(2) if draw[0] < 0.5 else image for image, draw in zip(view, drawn, strict=True)]
        )
        for view in batch.each_view()
    ]
    assert 0 < (drawn[:, 0] < 0.5).sum() < len(batch)
    parts: dict[str, Tensor] = {}

    def loss_of(student: Any) -> Tensor:
        vectors, fives, sevens, sources = [], [], [], []
        for number, view in enumerate(flipped):
            maps: tuple[Tensor, ...] = student.encoder.stages(view)
            before_last = student.encoder.layer3[0](maps[2])  # the batch norm sees the same batch again
            vectors.append(maps[-1].mean((2, 3)))
            sevens.append(functional.adaptive_avg_pool2d(student.fine_head(maps[2]), 7))
            fives.append(functional.adaptive_avg_pool2d(student.coarse_head(before_last), 5))
            place = (drawn[:, 1 + number] * 25).astype(int)
            sources.append(torch.stack([fives[-1][b, :, p // 5, p % 5] for b, p in enumerate(place)]))
        squares = []
        for name, left, right in (
            ("loss_1_to_5", vectors, fives),
            ("loss_1_to_7", vectors, sevens),
            ("loss_5_to_5", sources, fives),
        ):
            there, back = nce(left[0], right[1], 2.0), nce(left[1], right[0], 2.0)
            parts[name] = (there[0] + back[0]) / 2
            squares += [there[1], back[1]]
        parts["score_penalty"] = torch.stack(squares).sum() / 2
        names = ("loss_1_to_5", "loss_1_to_7", "loss_5_to_5")
        return torch.stack([parts[name] for name in names]).sum() + 0.3 * parts["score_penalty"]

    metrics = assert_step(method, batch, loss_of)
    for name, value in parts.items():
        assert metrics[name].item() == pytest.approx(value.item(), rel=1e-6), name


def test_both_views_are_mirrored_together_or_not() -> None:
    batch = make_batch(0, size=32)
    seen: list[Tensor] = []
    for chance in (0.0, 0.5, 1.0):
        method = tiny_method(AMDIM.Config(joint_flip=chance))
        method.encoder.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
        method(batch, 0)
    for number, view in enumerate(batch.each_view()):
        assert torch.equal(seen[number], view)
        assert torch.equal(seen[4 + number], view.flip(3))
    kept = [(seen[2 + number] == view).flatten(1).all(1) for number, view in enumerate(batch.each_view())]
    assert torch.equal(*kept)
    assert 4 < kept[0].sum() < 28


@pytest.mark.parametrize("backbone", [AMDIMEncoder.Config().small(), DenseResNet.Config(feature_dim=32)])
def test_every_backbone_with_inner_maps_is_trained(backbone: Backbone.Config) -> None:
    method: Method = build_method(AMDIM.Config(), backbone, seed=0, total_steps=9, num_classes=None)
    views = tuple(functional.interpolate(view, size=32) for view in make_batch(0, size=2).views)
    method(replace(make_batch(0, size=2), views=views), 0)[0].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


def test_the_matched_encoder_is_as_large_as_the_resnet50() -> None:
    """Figure 4 of the supplement: layers and channels are chosen so that the two have one size."""
    sizes = []
    for backbone in (DenseResNet.Config(), AMDIMEncoder.Config(depth=9)):
        with torch.device("meta"):
            method = build_method(AMDIM.Config(), backbone, seed=0, total_steps=9, num_classes=None)
        sizes.append(sum(p.numel() for p in method.parameters()))
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)


def test_bad_parts_are_refused() -> None:
    with pytest.raises(UserError, match="amdim needs inner maps, which backbone resnet does not name"):
        build_method(AMDIM.Config(), ResNet.Config(depth=18), seed=0, total_steps=1, num_classes=None)
    with (
        pytest.raises(UserError, match="takes views of 64 pixels, not 32: set --size 64"),
        torch.device("meta"),
    ):
        build_backbone(AMDIMEncoder.Config()).check_size(32)
