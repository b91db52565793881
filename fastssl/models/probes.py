"""Classifiers that watch an encoder while a method trains it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Probes(nn.Module):
    """A linear classifier and a perceptron of one hidden layer, on features that take no gradient from them.

    The perceptron is Linear without biases, batch norm, ReLU, Linear, its hidden layer as wide as the
    features: the probes of the public code of Newell and Deng, "How useful is self-supervised pretraining for
    visual tasks?" (2020).
    """

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, num_classes)
        hidden = (nn.Linear(dim, dim, bias=False), nn.BatchNorm1d(dim), nn.ReLU(inplace=True))
        self.mlp = nn.Sequential(*hidden, nn.Linear(dim, num_classes))

    def forward(self, features: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean of the two cross entropies, and what to log.

        Args:
            features: [B, D]; detached here.
            labels: int64 [B].

        Returns:
            The loss, 0-dim, and the accuracies on this batch, before it is learned from: 0-dim each.
        """
        features = features.detach().to(self.linear.weight.dtype)
        with torch.autocast(features.device.type, enabled=False):
            logits = {"linear": self.linear(features), "mlp": self.mlp(features)}
        losses = torch.stack([functional.cross_entropy(each, labels) for each in logits.values()])
        with torch.no_grad():
            metrics = {
                f"probe_{name}_top1": (each.argmax(1) == labels).float().mean()
                for name, each in logits.items()
            }
        return losses.mean(), metrics
