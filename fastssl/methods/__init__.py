"""Methods, one file per family; ``build_method`` makes the one that a config names."""

from __future__ import annotations

import numpy as np
import torch

from fastssl.methods.amdim import AMDIM
from fastssl.methods.barlow_twins import BarlowTwins
from fastssl.methods.byol import BYOL
from fastssl.methods.cmc import CMC
from fastssl.methods.method import Method, RunFacts
from fastssl.methods.moco import MoCo
from fastssl.methods.msbreg import MSBReg
from fastssl.methods.probed import add_probes
from fastssl.methods.rotation import Rotation
from fastssl.methods.simclr import SimCLR
from fastssl.methods.simo import SiMo
from fastssl.methods.supervised import Supervised
from fastssl.methods.vae import VAE
from fastssl.models.backbone import Backbone

__all__ = [
    "AMDIM",
    "BYOL",
    "CMC",
    "METHODS",
    "VAE",
    "BarlowTwins",
    "MSBReg",
    "Method",
    "MoCo",
    "Rotation",
    "SiMo",
    "SimCLR",
    "Supervised",
    "build_encoder",
    "build_method",
]

METHODS = (MoCo, BYOL, MSBReg, SiMo, SimCLR, BarlowTwins, Supervised, Rotation, VAE, CMC, AMDIM)


def build_method(
    config: Method.Config,
    backbone: Backbone.Config,
    *,
    seed: int,
    total_steps: int,
    num_classes: int | None,
    sample_ids: np.ndarray | None = None,
    probes: bool = False,
) -> Method:
    """A method on the CPU, its weights and random buffers drawn from ``seed`` alone.

    Args:
        config: selects the method.
        backbone: selects the encoder.
        seed: random seed of the run.
        total_steps: length of the whole run.
        num_classes: number of classes of the data; None without labels.
        sample_ids: int64 [images], the ids of the training images; None: there are none to train on.
        probes: train probes beside it (``fastssl.methods.probed``).

    Raises:
        UserError: if the method does not fit the data.
    """
    run = RunFacts(seed=seed, total_steps=total_steps, num_classes=num_classes, sample_ids=sample_ids)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        method: Method = config.component(config, backbone, run)
        if probes:
            add_probes(method, num_classes)
    return method


def build_encoder(config: Method.Config, backbone: Backbone.Config) -> Backbone:
    """A new encoder on the CPU, ready to load the saved weights of a method's ``encoder``."""
    encoder: Backbone = config.component.build_encoder(config, backbone)
    return encoder
