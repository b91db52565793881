"""Several linear classifiers on the same features, trained at once by SGD, each at a rate of its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_MOMENTUM = 0.9


def initial_weight(num_classes: int, dim: int, seed: int) -> Tensor:
    """Weight of a classifier before training, float32 [C, D]: normal, deviation 0.01; its bias is 0."""
    weight = torch.empty(num_classes, dim)
    return nn.init.normal_(weight, std=0.01, generator=torch.Generator().manual_seed(seed))


class LinearClassifiers:
    """R linear classifiers with equal initial weights; softmax cross entropy, SGD with momentum.

    Attributes:
        weights: float32 [R, C, D].
        biases: float32 [R, C].
    """

    def __init__(self, count: int, dim: int, num_classes: int, seed: int, device: torch.device) -> None:
        weight = initial_weight(num_classes, dim, seed)
        self.weights = weight.to(device).repeat(count, 1, 1).requires_grad_()
        self.biases = torch.zeros(count, num_classes, device=device, requires_grad=True)
        self._momenta = [torch.zeros_like(self.weights), torch.zeros_like(self.biases)]

    def state_dict(self) -> dict[str, Tensor]:
        """Weights, biases and their momenta."""
        weights, biases = self._momenta
        parameters = {"weights": self.weights.detach(), "biases": self.biases.detach()}
        return parameters | {"weight_momenta": weights, "bias_momenta": biases}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what ``state_dict`` gave."""
        for name, value in self.state_dict().items():
            value.copy_(state[name])

    def logits(self, features: Tensor) -> Tensor:
        """Features [B, D] to [R, B, C]."""
        count, num_classes, dim = self.weights.shape
        flat = functional.linear(features, self.weights.view(-1, dim), self.biases.view(-1))
        return flat.view(len(features), count, num_classes).transpose(0, 1)

    def step(
        self,
        features: Tensor,
        labels: Tensor,
        rates: Tensor,
        *,
        used: Tensor | None = None,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> Tensor:
        """Update every classifier once. A classifier that diverges leaves the others alone.

        Args:
            features: float32 [B, D].
            labels: int64 [B].
            rates: learning rates [R].
            used: bool [R, B], the samples that a classifier learns from; None: all.
            nesterov: Nesterov's momentum.
            weight_decay: coefficient of the L2 penalty.

        Returns:
            mean loss of each classifier before the update, [R], detached.
        """
        logits = self.logits(features)
        losses = functional.cross_entropy(
            logits.transpose(1, 2), labels.expand(len(rates), -1), reduction="none"
        )
        if used is None:
            means = losses.mean(1)
        else:
            means = torch.where(used, losses, 0).sum(1) / used.sum(1).clamp(min=1)
        parameters = (self.weights, self.biases)
        gradients = torch.autograd.grad(means.sum(), parameters)
        with torch.no_grad():
            for parameter, gradient, momentum in zip(parameters, gradients, self._momenta, strict=True):
                gradient = gradient + weight_decay * parameter
                momentum.mul_(_MOMENTUM).add_(gradient)
                update = gradient + _MOMENTUM * momentum if nesterov else momentum
                parameter -= rates.view(-1, *(1,) * (parameter.ndim - 1)) * update
        return means.detach()

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
