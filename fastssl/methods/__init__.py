"""One file a method family; ``build_method`` makes the one that a config names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fastssl.methods.byol import BYOL, BYOLConfig
from fastssl.methods.method import Method, RunFacts
from fastssl.methods.moco import MoCo, MoCoConfig
from fastssl.methods.msbreg import MSBReg, MSBRegConfig
from fastssl.methods.simclr import SimCLR, SimCLRConfig
from fastssl.methods.simo import SiMo, SiMoConfig
from fastssl.methods.supervised import Supervised, SupervisedConfig
from fastssl.models.backbone import Backbone

__all__ = [
    "BYOLConfig",
    "MSBRegConfig",
    "Method",
    "MethodConfig",
    "MoCoConfig",
    "SiMoConfig",
    "SimCLRConfig",
    "SupervisedConfig",
    "build_method",
]

MethodConfig = MoCoConfig | BYOLConfig | MSBRegConfig | SiMoConfig | SimCLRConfig | SupervisedConfig

_METHODS: dict[type[MethodConfig], Callable[[Any, Backbone.Config, RunFacts], Method]] = {
    MoCoConfig: MoCo,
    BYOLConfig: BYOL,
    MSBRegConfig: MSBReg,
    SiMoConfig: SiMo,
    SimCLRConfig: SimCLR,
    SupervisedConfig: Supervised,
}


def build_method(
    config: MethodConfig,
    backbone: Backbone.Config,
    *,
    seed: int,
    total_steps: int,
    num_classes: int | None,
) -> Method:
    """A method on the CPU, its weights and random buffers drawn from ``seed`` alone.

    Args:
        config: which method.
        backbone: which encoder.
        seed: of the run.
        total_steps: of the whole run.
        num_classes: of the data; None where it has no classes.

    Raises:
        UserError: if the method does not fit the data.
    """
    run = RunFacts(seed=seed, total_steps=total_steps, num_classes=num_classes)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return _METHODS[type(config)](config, backbone, run)
