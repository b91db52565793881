"""Norms of an encoder's tensors (Huang et al., 2022, figure 3a: its 3x3 convolutions, by SGD and by LARS)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from fastssl.diagnostics.diagnostic import Diagnostic
from fastssl.diagnostics.opened_run import OpenedRun
from fastssl.evaluate.features import require_finite
from fastssl.run.drawing import new_figure, to_png


@dataclass(frozen=True, kw_only=True)
class Norms(Diagnostic):
    """L2 norms of the 3x3 convolutions and of all tensors, of one encoder or of two; no images are read."""

    most_runs = 2
    reads_images = False

    def measure(self, runs: Sequence[OpenedRun]) -> tuple[dict[str, Any], bytes]:
        """``convolutions_3x3`` and ``tensors`` of each run by label: norms by name, in the encoder's order.

        ``tensors`` has biases, batch norms' weights and running statistics too.
        """
        labels = [f"{place}: {run.label}" for place, run in enumerate(runs, 1)]
        pairs = list(zip(labels, runs, strict=True))
        result = {
            "convolutions_3x3": {label: convolution_norms(run.encoder) for label, run in pairs},
            "tensors": {label: tensor_norms(run.encoder) for label, run in pairs},
        }
        return result, _draw(result)

    def report(self, result: Any) -> str:
        """The largest norm of a 3x3 convolution of each run."""
        lines = []
        for label, norms in result["convolutions_3x3"].items():
            largest = f"largest norm {max(norms.values()):.4g}" if norms else "none"
            lines.append(f"{label}: {len(norms)} 3x3 convolutions, {largest}")
        return "\n".join(lines)


def convolution_norms(encoder: nn.Module) -> dict[str, float]:
    """L2 norm of each 3x3 convolution's weight, by name."""
    return {
        f"{name}.weight": float(part.weight.detach().double().norm())
        for name, part in encoder.named_modules()
        if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3)
    }


def tensor_norms(encoder: nn.Module) -> dict[str, float]:
    """L2 norm of each floating-point tensor of an encoder's state, by name.

    Raises:
        UserError: one is not finite.
    """
    tensors = {name: value for name, value in encoder.state_dict().items() if value.is_floating_point()}
    for name, value in tensors.items():
        require_finite(value, f"values of {name}")
    return {name: float(value.double().norm()) for name, value in tensors.items()}


def _draw(result: dict[str, Any]) -> bytes:
    """Figure 3a's curves beside the norms of all weights that are matrices or kernels."""
    figure = new_figure(11, 4, "L2 norms")
    convolutions, weights = figure.subplots(1, 2)
    for label, norms in result["convolutions_3x3"].items():
        convolutions.plot(range(1, len(norms) + 1), list(norms.values()), marker="o", label=label)
    convolutions.set(xlabel="3x3 convolutions, first to last", ylabel="norm", ylim=(0, None))
    for label, norms in result["tensors"].items():
        values = [value for value in norms.values() if value > 0]
        weights.plot(range(1, len(values) + 1), values, marker=".", linestyle="none", label=label)
    weights.set(xlabel="all tensors, first to last", yscale="log")
    for axes in (convolutions, weights):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return to_png(figure)
