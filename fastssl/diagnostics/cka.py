"""Linear CKA of two encoders, layer by layer (Huang et al., 2022, figure 3b).

Maps are compared flattened, from minibatches of the test images by the unbiased HSIC; pooled features also
exactly, over all test images. The two estimates differ where there are few images for the features' number:
the exact one is then too high.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor
from tyro.conf import arg

from fastssl.diagnostics.diagnostic import Diagnostic
from fastssl.diagnostics.layers import Kind, find_layers, layer_grams
from fastssl.diagnostics.opened_run import OpenedRun
from fastssl.evaluate.features import open_views
from fastssl.evaluate.subject import Subject
from fastssl.metrics.cka import MinibatchCka, linear_cka
from fastssl.run.drawing import new_figure, to_png
from pipelines.command.errors import UserError
from pipelines.command.progress import show_progress
from pipelines.command.ranges import Range
from pipelines.plan.order import keyed_sample
from pipelines.plan.plan import Plan
from pipelines.sources.subset import Subset

POOLED = "pooled"
_FEWEST = Range(at_least=4)  # images, for the unbiased HSIC
_FromFour = Annotated[int, _FEWEST, arg(help_behavior_hint=_FEWEST.shown)]


@dataclass(frozen=True, kw_only=True)
class Cka(Diagnostic):
    """Linear CKA of two encoders: stem, stages or blocks, pooled features."""

    layers: Kind = "stages"
    """Compare stages, or each residual block."""
    images: _FromFour = 2048
    """Most test images for the layers' maps, drawn by key."""
    batch_size: _FromFour = 128
    """Images per minibatch."""

    fewest_runs = most_runs = 2

    def measure(self, runs: Sequence[OpenedRun]) -> tuple[dict[str, Any], bytes]:
        """``pooled_cka`` of all test images, exact; ``matrix`` of layers, ``curve`` of those of one name.

        A layer that gives all images the same has no CKA: null.
        """
        subjects = [run.subject for run in runs]
        if subjects[0].data.fingerprints != subjects[1].data.fingerprints:
            raise UserError("cka: the two runs were given different images: name them by --data")
        exact = linear_cka(*(subject.features("test")[0] for subject in subjects))
        if math.isnan(exact):
            raise UserError(
                "cka: all features of an encoder are equal: it has collapsed, and CKA is undefined"
            )
        layers = [find_layers(subject.encoder, self.layers) for subject in subjects]
        count = len(subjects[0].data.test.index)
        if count < _FEWEST.at_least:
            raise UserError(f"cka: {count} test images are too few: give at least {_FEWEST.at_least:g}")
        batch_size = min(self.batch_size, self.images, count)
        batches = min(self.images, count) // batch_size
        chosen = keyed_sample("cka", count, batches * batch_size)  # classes mix in a minibatch
        plan = Plan(count=len(chosen), batch_size=batch_size, batches_per_epoch=batches, shuffle=False)
        sums = MinibatchCka()
        grams = (_grams(subject, own, chosen, plan) for subject, own in zip(subjects, layers, strict=True))
        for pair in show_progress(zip(*grams, strict=True), batches, "cka: minibatches"):
            sums.add(*pair)
        matrix = sums.matrix()
        names = [[*own, POOLED] for own in layers]
        curve = {
            name: _number(matrix[place, names[1].index(name)])
            for place, name in enumerate(names[0])
            if name in names[1]
        }
        result = {
            "pooled_cka": exact,
            "curve": curve,
            "matrix": [[_number(value) for value in row] for row in matrix],
            "layers": names,
            "settings": {"images": len(chosen), "batch_size": batch_size},
        }
        return result, _draw(result, matrix, [run.label for run in runs])


def _grams(
    subject: Subject, layers: dict[str, torch.nn.Module], chosen: np.ndarray, plan: Plan
) -> Iterator[Tensor]:
    """Gram matrices of each minibatch of the test images ``chosen``, in their order."""
    config = subject.feature_config
    subject.encoder.eval()
    with open_views(Subset(subject.data.test, chosen), config, plan, plan.batches_per_epoch) as loader:
        for views in loader:
            yield layer_grams(subject.encoder, layers, views.views[0], config)


def _number(value: Tensor) -> float | None:
    return float(value) if value.isfinite() else None


def _draw(result: dict[str, Any], matrix: Tensor, labels: Sequence[str]) -> bytes:
    """Heat map of all pairs of layers, and the curve of layers of one name."""
    names, curve = result["layers"], result["curve"]
    figure = new_figure(10, 4.6, "linear CKA")
    heat, line = figure.subplots(1, 2)
    image = heat.imshow(matrix.numpy(), vmin=0, vmax=1, cmap="magma")
    figure.colorbar(image, ax=heat)
    heat.set_yticks(range(len(names[0])), names[0], fontsize=7)
    heat.set_xticks(range(len(names[1])), names[1], fontsize=7, rotation=90)
    heat.set(ylabel=labels[0], xlabel=labels[1])
    line.plot(
        range(len(curve)), [math.nan if value is None else value for value in curve.values()], marker="o"
    )
    line.set_xticks(range(len(curve)), list(curve), fontsize=7, rotation=90)
    line.set(ylim=(0, 1.05), ylabel=f"CKA; pooled, all images: {result['pooled_cka']:.3f}")
    line.grid(alpha=0.3)
    return to_png(figure)
