"""The request of a step to a backend: samples in the keyed order, and parameters drawn for their views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipelines.command.errors import UserError
from pipelines.plan.plan import Plan
from pipelines.sources import Index
from pipelines.views import ViewGroup, draw


@dataclass(frozen=True, eq=False)
class Request:
    """One rank's share of a global batch, before anything is decoded."""

    step: int
    """Number of the global batch since the start of the run; with accumulated gradients several make one step
    of the optimizer."""
    epoch: int
    """Epoch, from 0."""
    positions: np.ndarray
    """Places in the epoch's order, int64 [B]."""
    indices: np.ndarray
    """Samples of the source, int64 [B]."""
    parameters: tuple[np.ndarray, ...]
    """VIEW_PARAMETERS [K_g, B] per view group; ``Requests.substitute`` changes columns."""


class Requests:
    """The requests of a run, any step of them.

    Args:
        index: of the source.
        groups: the views of a sample, numbered across the groups.
        plan: which samples form which batch.
    """

    def __init__(self, index: Index, groups: tuple[ViewGroup, ...], plan: Plan) -> None:
        if not groups:
            raise UserError("a run needs at least one view: set --views.0.num-views to 1 or more")
        self._index, self._groups, self._plan = index, groups, plan
        firsts = np.cumsum([0, *(group.num_views for group in groups)]).tolist()
        self._views = tuple(
            range(first, first + group.num_views) for first, group in zip(firsts, groups, strict=False)
        )

    def of_step(self, step: int) -> Request:
        """The request of a step."""
        epoch = step // self._plan.batches_per_epoch
        positions = self._plan.positions(step)
        indices = self._plan.samples(epoch, positions)
        # an unreadable header has size 0: such a sample is drawn again with its substitute's size
        heights = np.maximum(self._index.heights[indices], 1)
        widths = np.maximum(self._index.widths[indices], 1)
        return Request(step, epoch, positions, indices, self._draw(epoch, indices, heights, widths))

    def substitute(
        self, request: Request, slot: int, decode: Callable[[int], np.ndarray | None]
    ) -> tuple[int, np.ndarray]:
        """The next sample of the order that decodes, drawn with the keys of the one at ``slot``.

        Args:
            request: its parameters at ``slot`` are replaced.
            slot: position in the batch.
            decode: from a sample's index to its pixels, uint8 [H, W, 3], or None.

        Returns:
            The substitute's index and pixels.

        Raises:
            UserError: there is none.
        """
        index, image = next_decodable(self._plan, request.epoch, int(request.positions[slot]), decode)
        height, width = (np.array([side], np.int32) for side in image.shape[:2])
        drawn = self._draw(request.epoch, request.indices[slot : slot + 1], height, width)
        for table, column in zip(request.parameters, drawn, strict=True):
            table[:, slot : slot + 1] = column
        return index, image

    def _draw(
        self, epoch: int, indices: np.ndarray, heights: np.ndarray, widths: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        return tuple(
            draw(
                group.spec,
                seed=self._plan.seed,
                epoch=epoch,
                samples=self._index.sample_ids[indices],
                heights=heights,
                widths=widths,
                views=views,
            )
            for group, views in zip(self._groups, self._views, strict=True)
        )


def next_decodable(
    plan: Plan, epoch: int, position: int, decode: Callable[[int], np.ndarray | None]
) -> tuple[int, np.ndarray]:
    """The next sample after a position of an epoch's order that decodes: its index and pixels.

    Args:
        plan: gives the order.
        epoch: from 0.
        position: in the order.
        decode: from a sample's index to its pixels, uint8 [H, W, 3], or None.

    Raises:
        UserError: there is none.
    """
    for ahead in range(1, plan.count):
        index = int(plan.samples(epoch, np.array([(position + ahead) % plan.count]))[0])
        image = decode(index)
        if image is not None:
            return index, image
    raise UserError(f"none of the {plan.count} images can be decoded")
