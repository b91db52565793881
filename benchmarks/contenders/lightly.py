"""Training steps of lightly's modules, as its examples write them: heads, loss, memory bank, teacher.

The encoder is ours and the optimizer torch's. Differs: the memory bank takes the keys of both views, and the
second term of MoCo's loss meets those of the first. No keyed draws, no metrics, no other processes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from lightly.loss import NegativeCosineSimilarity, NTXentLoss
from lightly.models.modules.heads import ProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from torch import Tensor, nn

from fastssl.methods import BYOL, MoCo
from fastssl.models.heads import Head

Views = tuple[Tensor, ...]


def lightly_step(
    method: BYOL | MoCo, rate: float, weight_decay: float, autocast: torch.dtype | None
) -> Callable[[Views], None]:
    """A step on two views, each [B, 3, S, S], with SGD of momentum 0.9.

    Args:
        method: a MoCo with a symmetric loss and a predictor or a BYOL, on its device; its encoder is copied.
        rate: learning rate, the same at each step.
        weight_decay: coefficient of the L2 penalty, the same for all parameters.
        autocast: dtype of forward and backward; None: float32.
    """
    config = method.config
    device = next(method.parameters()).device
    encoder = copy.deepcopy(method.encoder)
    projector = _head(encoder.feature_dim, config.projector).to(device)
    predictor = _head(config.projector.out_dim, config.predictor).to(device)
    followed = nn.Sequential(encoder, projector)
    teacher = copy.deepcopy(followed)
    deactivate_requires_grad(teacher)
    criterion: nn.Module = NegativeCosineSimilarity()
    if isinstance(config, MoCo.Config):
        size = (config.queue_size, config.projector.out_dim)
        criterion = NTXentLoss(temperature=config.loss.temperature, memory_bank_size=size).to(device)
    student = nn.Sequential(followed, predictor)
    optimizer = torch.optim.SGD(
        student.parameters(), rate, momentum=0.9, weight_decay=weight_decay, fused=device.type == "cuda"
    )

    def step(views: Views) -> None:
        update_momentum(followed, teacher, m=0.99)
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            queries = [student(view) for view in views]
            with torch.no_grad():
                keys = [teacher(view) for view in views]
            loss = criterion(queries[0], keys[1]) + criterion(queries[1], keys[0])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _head(in_dim: int, config: Head.Config) -> ProjectionHead:
    """A head of two layers with batch norm, as ``BYOLProjectionHead``, with one on its output if asked."""
    hidden, out = config.hidden_dim, config.out_dim
    out_norm = nn.BatchNorm1d(out) if config.out_norm == "batch" else None
    return ProjectionHead(
        [(in_dim, hidden, nn.BatchNorm1d(hidden), nn.ReLU()), (hidden, out, out_norm, None)]
    )
