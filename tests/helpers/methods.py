"""Methods at test size: a case of each of ``METHODS``, and variants that draw or normalize otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from torch import nn

from fastssl.config import Experiment
from fastssl.methods import BYOL, METHODS, Method, MoCo, MSBReg, SimCLR, SiMo
from fastssl.models.teacher import update_averages
from fastssl.recipes import quickstart
from fastssl.recipes.variant import with_changes
from pipelines.command.errors import UserError


def narrow(
    method: type[Method],
    changes: Mapping[str, Any] | None = None,
    *,
    hidden_dim: int = 32,
    out_dim: int = 16,
) -> Any:
    """A method's default config with narrow heads and other values in fields, ``loss.temperature`` say."""
    config: Any = method.Config()
    for name in ("projector", "predictor"):
        if hasattr(config, name):
            head = replace(getattr(config, name), hidden_dim=hidden_dim, out_dim=out_dim)
            config = replace(config, **{name: head})
    return with_changes(config, changes or {})


@dataclass(frozen=True)
class Case:
    """A method, the images of a micro-batch, and how many of them share batch-norm statistics."""

    config: Any
    images: int
    images_per_group: int


def _smallest(config: Method.Config) -> Case:
    """The smallest batch that the method accepts, in two groups: norms of two processes need not talk."""
    for images in (8, 16, 32, 64):
        experiment: Any = SimpleNamespace(
            views=(SimpleNamespace(num_views=config.num_views),),
            batch_size=images,
            accumulation_steps=1,
            batch_norm_group=None,
        )
        try:
            config.check(experiment)
        except UserError:
            continue
        return Case(config, images, images // 2)
    raise AssertionError(f"{config.kind}'s small config accepts no batch of at most 64 images")


_FEW = {"loss.num_negatives": 5, "loss.eqco_alpha": 64.0, "enqueue": "all"}
_LAYER_NORM = {"projector.norm": "layer", "predictor.norm": "layer"}
CASES: dict[str, Case] = {
    **{method.Config.kind: _smallest(method.Config().small()) for method in METHODS},
    "moco-few": Case(narrow(MoCo, _FEW), 8, 4),
    "moco-shuffled": Case(
        narrow(MoCo, {"loss.num_negatives": 40, "symmetric_loss": False, "teacher.shuffling_bn": True}), 8, 2
    ),
    "moco-two-predictors": Case(narrow(MoCo, {"loss.num_negatives": 40, "predictor_on": "both"}), 8, 8),
    "byol-layer-norm": Case(narrow(BYOL, _LAYER_NORM), 8, 8),
    "byol-uniformity": Case(narrow(BYOL, {"uniformity_weight": 0.5}), 8, 4),
    "msbreg-layer-norm": Case(narrow(MSBReg, {**_LAYER_NORM, "num_views": 2, "lambda_s": 0.05}), 8, 4),
    "simo-shuffled": Case(narrow(SiMo, {"loss.num_negatives": 3, "teacher.shuffling_bn": True}), 8, 2),
    "simclr-sampled": Case(narrow(SimCLR, {"loss.num_negatives": 3, "loss.eqco_alpha": 256.0}), 8, 4),
}


def experiment_with(config: Method.Config, **fields: Any) -> Experiment:
    """The quickstart's experiment with another method, and other values in some of its fields."""
    before = quickstart().experiment
    views = (replace(before.views[0], num_views=config.num_views),)
    return replace(before, **{"method": config, "views": views, **fields})


def networks(method: Method) -> list[nn.Module]:
    """The parts whose outputs a loss is made of: the student, and what is averaged from it."""
    return [method.student, *(target for target, _, _ in method.averages(0))]


def finish_step(method: Method, step: int) -> None:
    """What the trainer does with a method after the optimizer's step."""
    update_averages(method.averages(step))
    method.after_step(step)
