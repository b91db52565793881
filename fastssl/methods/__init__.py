"""Methods, one file per family; ``build_method`` makes the one that a config names."""

from __future__ import annotations

import torch

from fastssl.methods.barlow_twins import BarlowTwins
from fastssl.methods.byol import BYOL
from fastssl.methods.method import Method, RunFacts
from fastssl.methods.moco import MoCo
from fastssl.methods.msbreg import MSBReg
from fastssl.methods.simclr import SimCLR
from fastssl.methods.simo import SiMo
from fastssl.methods.supervised import Supervised
from fastssl.models.backbone import Backbone

__all__ = [
    "BYOL",
    "METHODS",
    "BarlowTwins",
    "MSBReg",
    "Method",
    "MoCo",
    "SiMo",
    "SimCLR",
    "Supervised",
    "build_encoder",
    "build_method",
]

METHODS = (MoCo, BYOL, MSBReg, SiMo, SimCLR, BarlowTwins, Supervised)


def build_method(
    config: Method.Config,
    backbone: Backbone.Config,
    *,
    seed: int,
    total_steps: int,
    num_classes: int | None,
) -> Method:
    """A method on the CPU, its weights and random buffers drawn from ``seed`` alone.

    Args:
        config: selects the method.
        backbone: selects the encoder.
        seed: random seed of the run.
        total_steps: length of the whole run.
        num_classes: number of classes of the data; None without labels.

    Raises:
        UserError: if the method does not fit the data.
    """
    run = RunFacts(seed=seed, total_steps=total_steps, num_classes=num_classes)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        method: Method = config.component(config, backbone, run)
    return method


def build_encoder(config: Method.Config, backbone: Backbone.Config) -> Backbone:
    """A new encoder on the CPU, ready to load the saved weights of a method's ``encoder``."""
    encoder: Backbone = config.component.build_encoder(config, backbone)
    return encoder
