"""AMDIM: features of one view predict inner maps of the other, place by place.

Bachman, Hjelm, Buchwalter, "Learning representations by maximizing mutual information across views" (2019),
as the public code of Newell and Deng, "How useful is self-supervised pretraining for visual tasks?" (2020),
trains it, on their ResNets too.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fastssl.distributed.collectives import all_gather_with_gradient, first_row
from fastssl.methods.method import Method, RunFacts, autocast_off, expect_views, full_precision, l2_normalize
from fastssl.metrics.embeddings import embedding_diagnostics
from fastssl.models.amdim_encoder import AMDIMEncoder, LocalHead
from fastssl.models.backbone import Backbone
from pipelines.batch import Batch, to_device
from pipelines.command.errors import UserError
from pipelines.command.ranges import NotNegative, Positive, ZeroToOne
from pipelines.keys import row_uniforms, stable_id

_DRAWS = stable_id("amdim/flip-and-places")
_FINE, _COARSE = 7, 5  # sides of the maps that are predicted


class AMDIM(Method):
    """Loss: for 1->5, 1->7 and 5->5, half of both ways' InfoNCE, plus a penalty of large scores.

    1 are the features, 7 and 5 the heads' outputs of two inner maps at 7x7 and 5x5 places. From a source
    vector (the features; one random place of the 5x5 map) each place of the other view's map is told from all
    places of all other images of the global batch. A score is the dot product over sqrt(D), clipped to
    c tanh(score / c). The penalty is half the sum, over the six, of the mean square of unclipped scores.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        """Augmented multiscale deep InfoMax. The defaults are Newell and Deng's."""

        num_views: ClassVar[int] = 2

        clip: Positive = 30.0
        """c, the largest score."""
        penalty_weight: NotNegative = 0.05
        """Weight of the penalty of large scores."""
        joint_flip: ZeroToOne = 0.5
        """Probability that both views of an image are mirrored; the views' own flips are apart from it."""

    def __init__(self, config: Config, backbone: Backbone.Config, run: RunFacts) -> None:
        super().__init__()
        self.config = config
        encoder = self.build_encoder(config, backbone)
        if encoder.inner_maps is None:
            raise UserError(
                f"amdim needs inner maps, which backbone {backbone.kind} does not name: "
                "take --backbone resnet9, denseresnet or amdimencoder"
            )
        (self._fine, fine), (self._coarse, coarse) = encoder.inner_maps
        dim = encoder.feature_dim
        head = LocalHead if isinstance(encoder, AMDIMEncoder) else partial(nn.Conv2d, kernel_size=1)
        self.student = nn.Sequential(
            OrderedDict(encoder=encoder, fine_head=head(fine, dim), coarse_head=head(coarse, dim))
        )
        self._seed = run.seed

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the global micro-batch; see ``Method.forward``."""
        views = expect_views(batch, self.config.num_views, self.config.kind)
        rows = np.arange(len(batch)) + first_row(len(batch))
        draws = row_uniforms(np.array([self._seed, batch.step, _DRAWS]), rows, 3)
        mirrored = to_device(draws[:, 0] < self.config.joint_flip, views[0].device)[:, None, None, None]
        places = to_device((draws[:, 1:] * _COARSE**2).astype(np.int64), views[0].device)
        first, second = (self._outputs(torch.where(mirrored, view.flip(3), view)) for view in views)
        with autocast_off(views[0]):
            ways = []  # (source, places of the other view) of 1->5, 1->7, 5->5, each both ways
            targets = [[all_gather_with_gradient(maps) for maps in each[1:]] for each in (first, second)]
            sources = [
                each[1][torch.arange(len(batch), device=places.device), places[:, number]]
                for number, each in enumerate((first, second))
            ]
            for one, (coarse, fine), local in zip((first[0], second[0]), targets[::-1], sources, strict=True):
                ways.append([(one, coarse), (one, fine), (local, coarse)])
            terms = [
                [local_info_nce(source, target, int(rows[0]), self.config.clip) for source, target in way]
                for way in ways
            ]
            losses = torch.stack([torch.stack([loss for loss, _ in way]) for way in terms]).mean(0)
            penalty = torch.stack([square for way in terms for _, square in way]).sum() / 2
            loss = (losses.sum() + self.config.penalty_weight * penalty).float()
        one_to_five, one_to_seven, five_to_five = losses.detach().unbind()
        return loss, {
            "loss": loss.detach(),
            "loss_1_to_5": one_to_five,
            "loss_1_to_7": one_to_seven,
            "loss_5_to_5": five_to_five,
            "score_penalty": penalty.detach(),
            **embedding_diagnostics(l2_normalize(first[0]), l2_normalize(second[0])),
        }

    def _outputs(self, view: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features [B, D], and places of the maps of 5x5 and 7x7, [B, 25, D] and [B, 49, D]."""
        encoder, fine_head, coarse_head = self.student
        with _kept_outputs(encoder, (self._fine, self._coarse)) as maps:
            features = encoder(view)
        fine = functional.adaptive_avg_pool2d(full_precision(fine_head(maps[self._fine])), _FINE)
        coarse = functional.adaptive_avg_pool2d(full_precision(coarse_head(maps[self._coarse])), _COARSE)
        return full_precision(features), _places(coarse), _places(fine)


def local_info_nce(sources: Tensor, targets: Tensor, first: int, clip: float) -> tuple[Tensor, Tensor]:
    """Loss of telling the places of one's own image from those of all others; mean square of all scores.

    Args:
        sources: [B, D].
        targets: places of all images, [N, P, D].
        first: position of the first source's own image among the N.
        clip: c.

    Returns:
        Two 0-dim tensors.
    """
    scores = torch.einsum("bd,npd->bnp", sources, targets) / math.sqrt(sources.shape[1])
    clipped = clip * torch.tanh(scores / clip)
    own = torch.arange(len(sources), device=scores.device)
    is_own = own[:, None] + first == torch.arange(len(targets), device=scores.device)
    rivals = clipped.masked_fill(is_own[:, :, None], -math.inf).flatten(1).logsumexp(1, keepdim=True)
    positives = clipped[own, own + first]
    return functional.softplus(rivals - positives).mean(), scores.square().mean()


@contextmanager
def _kept_outputs(module: nn.Module, names: tuple[str, ...]) -> Iterator[dict[str, Tensor]]:
    """Keep the outputs of submodules in the forward passes within."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        outputs[name] = output

    handles = [module.get_submodule(name).register_forward_hook(partial(keep, name)) for name in names]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _places(maps: Tensor) -> Tensor:
    """[B, D, H, W] to [B, H W, D]."""
    return maps.flatten(2).transpose(1, 2)
