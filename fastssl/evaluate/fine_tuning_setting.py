"""Settings of fine-tuning: rates of the classifier and of the encoder's layers, and the optimizer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import nn

from fastssl.evaluate.encoder_layers import encoder_layers
from fastssl.evaluate.training_setting import TrainingSetting
from fastssl.optim import LARS, SGD
from fastssl.optim.optimizer import parameter_groups, split_parameters

OptimizerName = Literal["sgd", "lars", "adamw"]
DEFAULT_RATES: dict[OptimizerName, float] = {"sgd": 0.1, "lars": 1.0, "adamw": 1e-3}  # of the classifier


@dataclass(frozen=True, kw_only=True)
class FineTuningSetting(TrainingSetting):
    """Training settings of an encoder and a classifier; the encoder's rate follows the classifier's."""

    encoder_rate: float
    """The first of the encoder, at ``batch_size``; 0: its weights do not move."""
    optimizer: OptimizerName = "sgd"
    """lars and adamw leave norms and biases undecayed (and lars unadapted)."""
    layer_decay: float = 1.0
    """Rate of each layer of the encoder / rate of the one above it; the last layer has ``encoder_rate``."""
    fixed_batch_norms: bool = False
    """Batch norms keep their statistics."""

    def resolved(self) -> dict[str, Any]:
        """The fields as results have them, ``classifier_rate`` for ``learning_rate``."""
        fields = asdict(self)
        return {"classifier_rate": fields.pop("learning_rate"), **fields}


def build_optimizer(
    encoder: nn.Module, classifier: nn.Module, setting: FineTuningSetting
) -> torch.optim.Optimizer:
    """The optimizer of an encoder and its classifier, whose groups have their share of the classifier's rate.

    Parameters that take no gradient have no group.
    """
    parts = [part | {"lr_scale": 1.0} for part in split_parameters(classifier)]
    share = setting.encoder_rate / setting.learning_rate
    for above, layer in enumerate(reversed(encoder_layers(encoder))):
        scale = {"lr_scale": share * setting.layer_decay**above}
        parts += [part | scale for part in split_parameters(nn.ParameterList(layer))]
    decay = setting.weight_decay
    if setting.optimizer == "sgd":
        sgd = SGD.Config(weight_decay=decay, nesterov=setting.nesterov)
        return SGD(sgd, parameter_groups(parts, sgd))
    lars = LARS.Config(weight_decay=decay, exclude_norm_and_bias=True)
    groups = parameter_groups(parts, lars)
    if setting.optimizer == "lars":
        return LARS(lars, groups)
    return torch.optim.AdamW(groups, lr=0.0)
