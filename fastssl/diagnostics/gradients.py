"""Gradient norms of MoCo's loss over K, without EqCo and with it, of one training (EqCo, figure 4).

Zhu, Huang, Li, Zhang, Sun, "EqCo: equivalent rules for self-supervised contrastive learning" (2020), A.2: a
normally trained MoCo v2 and |dL/dq| under other K at several epochs. Queries and keys are those of training:
its views, batch size and batch norms' mode; the K negatives are drawn from the checkpoint's queue.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastssl.diagnostics.diagnostic import Diagnostic
from fastssl.diagnostics.opened_run import OpenedRun
from fastssl.distributed.precision import AUTOCAST
from fastssl.evaluate.features import open_views, require_finite
from fastssl.evaluate.saved_run import SavedRun, saved_run
from fastssl.evaluate.subject import Subject
from fastssl.methods import MoCo
from fastssl.methods.info_nce import info_nce
from fastssl.metrics.query_gradients import query_gradient_norms
from fastssl.models.batch_norm import group_batch_norms
from fastssl.run.drawing import new_figure, to_png
from pipelines.batch import to_device
from pipelines.command.errors import UserError
from pipelines.command.progress import show_progress
from pipelines.command.ranges import Count, Counts, PositiveOrNone
from pipelines.plan.order import keyed_sample
from pipelines.plan.plan import Plan

Rule = tuple[int, float | None]  # K, and EqCo's alpha; None: the usual loss


@dataclass(frozen=True, kw_only=True)
class Gradients(Diagnostic):
    """Gradient norms of MoCo's loss at its queries over K, without EqCo and with it, at each checkpoint."""

    num_negatives: Counts = ()
    """Each K, at most the run's own; left out, the powers of four below it, and it."""
    alpha: PositiveOrNone = None
    """EqCo's alpha; None: the run's, which is its K where it has none."""
    images: Count = 4096
    """Training images whose queries are measured, in whole batches of the run's size, at least one."""
    seed: int = 0
    """Random seed for the images, their views and the choice of negatives."""

    def measure(self, runs: Sequence[OpenedRun]) -> tuple[dict[str, Any], bytes]:
        """``rows``: mean and sigma over queries of |dL/dq|, for each checkpoint, K and alpha (null: none).

        A run folder stands for all its checkpoints; of several with equal steps, one is measured.
        """
        subject = runs[0].subject
        names = [runs[0].checkpoint] if runs[0].checkpoint else _checkpoints(runs[0].folder)
        rows: list[dict[str, Any]] = []
        settings: dict[str, Any] = {}
        for name in names:
            saved = saved_run(dataclasses.replace(subject, checkpoint=name), "gradients", "queue")
            if saved.step not in {row["step"] for row in rows}:
                found, settings = self._of_checkpoint(subject, saved)
                about = {"checkpoint": name or "last", "step": saved.step}
                rows += [
                    {**about, "num_negatives": size, "alpha": alpha, "mean": mean, "sigma": sigma}
                    for (size, alpha), (mean, sigma) in found.items()
                ]
        rows.sort(key=lambda row: row["step"])  # stable
        return {"rows": rows, "settings": settings}, _draw(rows, runs[0].label)

    def report(self, result: Mapping[str, Any]) -> str:
        """Means of the smallest and the largest K at the last checkpoint, without alpha and with it."""
        last = [row for row in result["rows"] if row["step"] == result["rows"][-1]["step"]]
        lines = []
        for alpha in dict.fromkeys(row["alpha"] for row in last):
            line = sorted((row["num_negatives"], row["mean"]) for row in last if row["alpha"] == alpha)
            rule = "without EqCo" if alpha is None else f"alpha {alpha:g}"
            ends = " to ".join(f"{mean:.4g} (K {size})" for size, mean in (line[0], line[-1]))
            lines.append(f"gradients: {rule}, step {last[0]['step']}: mean |dL/dq| {ends}")
        return "\n".join(lines)

    def _of_checkpoint(
        self, subject: Subject, saved: SavedRun
    ) -> tuple[dict[Rule, tuple[float, float]], dict[str, Any]]:
        """Mean and standard deviation of the norms for each K and alpha, and the settings they are of."""
        config = saved.experiment.method
        if not isinstance(config, MoCo.Config):
            raise UserError(f"gradients: {saved.path} is of {config.kind}, which has no queue: give MoCo's")
        sizes = self.num_negatives or _powers_of_four(config.queue_size)
        if max(sizes) > config.queue_size:
            raise UserError(
                f"gradients: --num-negatives {max(sizes)} is more than the queue of {saved.path} holds "
                f"({config.queue_size}): give at most that"
            )
        alpha = float(self.alpha or config.loss.eqco_alpha or config.queue_size)
        norms: dict[Rule, list[Tensor]] = {(size, rule): [] for rule in (None, alpha) for size in sizes}
        for queries, keys, negatives in self._batches(subject, saved, max(sizes)):
            for size, rule in norms:
                found = gradient_norms(queries, keys, negatives[:size], config.loss.temperature, rule)
                norms[size, rule].append(found.cpu())
        joined = {rule: torch.cat(parts).double() for rule, parts in norms.items()}
        require_finite(torch.stack(list(joined.values())), f"gradients of {saved.path}")
        settings = {
            "alpha": alpha,
            "num_negatives": list(sizes),
            "temperature": config.loss.temperature,
            "images": len(next(iter(joined.values()))),
            "batch_size": _batch_size(saved),
        }
        return {
            rule: (float(of.mean()), float(of.std(correction=0))) for rule, of in joined.items()
        }, settings

    def _batches(
        self, subject: Subject, saved: SavedRun, most: int
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Queries [B, D] of view 1, keys [B, D] of view 2 and ``most`` keys of the queue, in random order."""
        config, experiment = subject.feature_config, saved.experiment
        batch_size, count = _batch_size(saved), len(subject.data.train.index)
        if count < batch_size:
            raise UserError(
                f"gradients: the batch of {saved.path} has {batch_size} images, and {subject.where} has "
                f"{count}: give more"
            )
        method: Any = saved.build().to(config.device).to(memory_format=torch.channels_last).train()
        group_batch_norms(method, experiment.batch_norm_group, batch_size)
        steps = min(count // batch_size, max(1, self.images // batch_size))
        plan = Plan(count=count, batch_size=batch_size, batches_per_epoch=steps, seed=self.seed)
        dtype = AUTOCAST[config.precision]
        with open_views(subject.data.train, config, plan, steps, experiment.views) as loader:
            for batch in show_progress(loader, steps, f"gradients: {saved.path.stem}"):
                first, second = batch.each_view()
                with torch.no_grad(), torch.autocast(config.device.type, dtype, enabled=dtype is not None):
                    (queries,), (keys,) = method.queries((first,)), method.keys((second,), batch.step)
                queue = method.queue.keys
                drawn = keyed_sample(f"gradients/{self.seed}", len(queue), most, seed=batch.step)
                yield queries, keys, queue[to_device(drawn, config.device)]


@torch.enable_grad()
def gradient_norms(
    queries: Tensor, keys: Tensor, negatives: Tensor, temperature: float, alpha: float | None
) -> Tensor:
    """|dL/dq| of each query by equation 10, [B].

    Args:
        queries: unit vectors [B, D].
        keys: the key of each, [B, D].
        negatives: keys shared by all, [K, D].
        temperature: tau.
        alpha: EqCo's; None: K, the usual loss.
    """
    queries = queries.detach().requires_grad_()
    with torch.autocast(queries.device.type, enabled=False):
        positive = (queries * keys).sum(1) / temperature
        losses = info_nce(positive, queries @ negatives.T / temperature, alpha)
        return query_gradient_norms(losses, [queries])


def _batch_size(saved: SavedRun) -> int:
    """Images that went through the network at once."""
    return saved.experiment.batch_size // saved.experiment.accumulation_steps


def _powers_of_four(size: int) -> tuple[int, ...]:
    """4, 16, 64, ... below a size, and the size."""
    return (*(4**power for power in range(1, 32) if 4**power < size), size)


def _checkpoints(folder: Path) -> list[str]:
    """Names of the kept checkpoints of a run, then "", its last."""
    return [*sorted(path.stem for path in (folder / "checkpoints").glob("epoch-*.pt")), ""]


def _draw(rows: Sequence[Mapping[str, Any]], label: str) -> bytes:
    """Means and ribbons of one sigma over K: without EqCo, with it; a line per checkpoint."""
    from matplotlib import colormaps  # here, as matplotlib is slow to import

    figure = new_figure(10, 4.4, f"gradient norm at {label}'s queries, mean and sigma")
    panels = figure.subplots(1, 2, sharey=True)
    steps = list(dict.fromkeys(row["step"] for row in rows))
    for axes, alpha in zip(panels, dict.fromkeys(row["alpha"] for row in rows), strict=True):
        for place, step in enumerate(steps):
            mine = sorted(
                (row for row in rows if (row["step"], row["alpha"]) == (step, alpha)),
                key=lambda row: int(row["num_negatives"]),
            )
            color = colormaps["viridis"](0.9 * place / max(1, len(steps) - 1))
            sizes = [row["num_negatives"] for row in mine]
            mean, sigma = (np.array([row[name] for row in mine]) for name in ("mean", "sigma"))
            axes.plot(sizes, mean, marker="o", color=color, label=f"{mine[0]['checkpoint']} (step {step})")
            axes.fill_between(sizes, mean - sigma, mean + sigma, color=color, alpha=0.15, linewidth=0)
        title = "without EqCo" if alpha is None else f"EqCo, alpha {alpha:g}"
        axes.set(title=title, xscale="log", xlabel="K, negatives of a query")
        axes.grid(alpha=0.3)
    panels[0].set(ylabel="|dL/dq|", ylim=(0, None))
    panels[1].legend(fontsize=7)
    return to_png(figure)
