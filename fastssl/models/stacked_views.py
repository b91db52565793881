"""Several views through a network in one forward pass, each with batch-norm statistics of its own.

Convolutions and linear layers see the images of all views at once; batch norms see one view after the other,
whatever their kind (torch's, in groups, synchronized). Numbers are those of one forward pass per view, to the
rounding of the convolutions; draws of dropout and drop path are others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def keep_views_apart(module: nn.Module) -> None:
    """Let the batch norms of a module take stacked views, in place; parameters, buffers and names stay.

    Args:
        module: on its device, its batch norms in their groups. Other layers must not mix images.
    """
    norms = [norm for norm in _batch_norms(module) if not hasattr(norm, "views")]
    kinds = {type(norm): _view_by_view(type(norm)) for norm in norms}
    for norm in norms:
        norm.__class__ = kinds[type(norm)]


def forward_stacked(network: nn.Module, views: Sequence[Tensor]) -> list[Tensor]:
    """``[network(view) for view in views]`` in one forward pass per row of views of one size.

    Args:
        network: [B, 3, S, S] to [B, D]; see ``keep_views_apart``.
        views: [B, 3, S, S] each, channels-last; S may differ.
    """
    outputs: list[Tensor] = []
    for _, alike in groupby(views, lambda view: view.shape):
        outputs += _forward_alike(network, list(alike))
    return outputs


def _forward_alike(network: nn.Module, views: list[Tensor]) -> list[Tensor]:
    if len(views) == 1:
        return [network(views[0])]
    _expect_views(network, len(views))
    try:
        output: Tensor = network(torch.cat(views))
    finally:
        _expect_views(network, 1)
    return list(output.chunk(len(views)))


def _expect_views(network: nn.Module, count: int) -> None:
    for norm in _batch_norms(network):
        norm.views = count  # type: ignore[assignment]


def _batch_norms(module: nn.Module) -> list[_BatchNorm]:
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


def _view_by_view(kind: type[_BatchNorm]) -> type[_BatchNorm]:
    """A batch norm of some kind that normalizes ``views`` equal parts of its rows one after the other."""
    forward: Callable[[_BatchNorm, Tensor], Tensor] = kind.forward

    class ViewByView(kind):  # type: ignore[misc, valid-type]
        views = 1

        def forward(self, x: Tensor) -> Tensor:
            """Same as the kind's for each view [B, C, ...] of [views B, C, ...]."""
            if self.views == 1 or not (self.training or self.running_mean is None):
                return forward(self, x)
            return torch.cat([forward(self, part) for part in x.chunk(self.views)])

    ViewByView.__name__ = kind.__name__
    return ViewByView
