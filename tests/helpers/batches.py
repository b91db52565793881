"""Small random batches and methods for the tests of the methods."""

from __future__ import annotations

import numpy as np
import torch

from fastssl.methods import Method, build_method
from fastssl.models import ResNet9
from pipelines.batch import Batch

TINY = ResNet9.Config(width=0.125)
NUM_CLASSES = 5


def make_batch(step: int, size: int = 8, views: int = 2, labeled: bool = True) -> Batch:
    """Noise of ``size`` images in ``views`` views of 16 pixels; the same for the same ``step``."""
    generator = torch.Generator().manual_seed(1000 + step)
    images = torch.randn(views * size, 3, 16, 16, generator=generator)
    labels = torch.randint(NUM_CLASSES, (size,), generator=generator)
    return Batch(
        step=step,
        epoch=0,
        views=(images.contiguous(memory_format=torch.channels_last),),
        sample_ids=torch.arange(size),
        labels=labels if labeled else None,
        parameters=(),
    )


def tiny_method(config: Method.Config, *, seed: int = 0, total_steps: int = 20) -> Method:
    """A method on a narrow ResNet-9, channels-last, in train mode."""
    method = build_method(
        config,
        TINY,
        seed=seed,
        total_steps=total_steps,
        num_classes=NUM_CLASSES,
        sample_ids=np.arange(64),
    )
    return method.to(memory_format=torch.channels_last).train()
