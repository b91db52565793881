"""Several linear classifiers on the same features, trained at once, each at a rate of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fastssl.evaluate.training import Trained

_MOMENTUM = 0.9


def initial_weight(num_classes: int, dim: int, seed: int) -> Tensor:
    """Weight of a classifier before training, float32 [C, D]: normal, deviation 0.01; its bias is 0."""
    weight = torch.empty(num_classes, dim)
    return nn.init.normal_(weight, std=0.01, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureBatch:
    """Features of B images, and which classifiers learn from each."""

    features: Tensor
    """float32 [B, D]."""
    labels: Tensor
    """int64 [B]."""
    used: Tensor | None = None
    """bool [R, B], the images that each of R classifiers learns from; None: all."""


class LinearClassifiers(Trained):
    """R linear classifiers with equal initial weights; the loss is the sum of their mean cross entropies.

    A classifier that diverges leaves the others alone.

    Attributes:
        weights: float32 [R, C, D].
        biases: float32 [R, C].
    """

    def __init__(self, count: int, dim: int, num_classes: int, seed: int, device: torch.device) -> None:
        super().__init__()
        weight = initial_weight(num_classes, dim, seed)
        self.weights = nn.Parameter(weight.to(device).repeat(count, 1, 1))
        self.biases = nn.Parameter(torch.zeros(count, num_classes, device=device))

    def logits(self, features: Tensor) -> Tensor:
        """Features [B, D] to [R, B, C]."""
        count, num_classes, dim = self.weights.shape
        flat = functional.linear(features, self.weights.view(-1, dim), self.biases.view(-1))
        return flat.view(len(features), count, num_classes).transpose(0, 1)

    def forward(self, batch: FeatureBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, 0-dim, and as ``loss`` the mean of each classifier, [R], detached."""
        logits = self.logits(batch.features)
        labels = batch.labels.expand(len(logits), -1)
        losses = functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        if batch.used is None:
            means = losses.mean(1)
        else:
            means = torch.where(batch.used, losses, 0).sum(1) / batch.used.sum(1).clamp(min=1)
        return means.sum(), {"loss": means.detach()}

    @torch.no_grad()
    def predictions(self, features: Tensor, index: int, block: int = 8192) -> Tensor:
        """Classes that one classifier gives features [N, D], int64 [N], on the CPU."""
        device = self.weights.device
        parts = [self.logits(part.to(device))[index].argmax(1).cpu() for part in features.split(block)]
        return torch.cat(parts)

    @torch.no_grad()
    def scores(self, features: Tensor, labels: Tensor, block: int = 8192) -> tuple[list[float], list[float]]:
        """Share of right answers and mean cross entropy of each classifier, from features [N, D]."""
        device = self.weights.device
        correct = torch.zeros(len(self.weights), dtype=torch.int64, device=device)
        losses = torch.zeros(len(self.weights), dtype=torch.float64)  # on the CPU: mps has no float64
        for part, answers in zip(features.split(block), labels.to(device).split(block), strict=True):
            logits = self.logits(part.to(device))
            correct += (logits.argmax(2) == answers).sum(1)
            expected = answers.expand(len(logits), -1)
            entropy = functional.cross_entropy(logits.transpose(1, 2), expected, reduction="none")
            losses += entropy.sum(1).cpu()
        return [int(count) / len(labels) for count in correct], (losses / len(labels)).tolist()


class SGDAtRates(torch.optim.Optimizer):
    """SGD with momentum whose rate differs along the first dimension of each parameter.

    Args:
        parameters: each [R, ...].
        shares: [R], rates as shares of the group's ``lr``.
        nesterov: Nesterov's momentum.
        weight_decay: coefficient of the L2 penalty.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], shares: Tensor, *, nesterov: bool, weight_decay: float
    ) -> None:
        super().__init__(parameters, {"lr": 0.0})
        self._shares, self._nesterov, self._weight_decay = shares, nesterov, weight_decay
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every parameter. Closures are not taken."""
        for group in self.param_groups:
            rates = self._shares * group["lr"]
            for parameter in group["params"]:
                momentum = self.state[parameter]["momentum_buffer"]
                gradient = parameter.grad + self._weight_decay * parameter
                momentum.mul_(_MOMENTUM).add_(gradient)
                update = gradient + _MOMENTUM * momentum if self._nesterov else momentum
                parameter -= rates.view(-1, *(1,) * (parameter.ndim - 1)) * update
