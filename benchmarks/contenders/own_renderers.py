"""fastssl's renderers: the reference in torch, numba's on the CPU, Triton's on a GPU.

Every batch has parameters of its own, which a thread draws while the batch before is rendered, as fastssl's
loaders do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from benchmarks.contenders import Decoded, Render
from pipelines.batch import Images
from pipelines.render import cpu, reference
from pipelines.views import draw


def tables(decoded: Decoded, count: int) -> Iterator[np.ndarray]:
    """The parameters of ``count`` batches, VIEW_PARAMETERS [K, B] each, the same ones every time."""
    heights, widths = np.array([image.shape[:2] for image in decoded.images], np.int32).T.copy()

    def drawn(epoch: int) -> np.ndarray:
        return draw(
            decoded.spec,
            seed=0,
            epoch=epoch,
            samples=np.arange(len(heights)),
            heights=heights,
            widths=widths,
            views=range(decoded.views),
        )

    with ThreadPoolExecutor(1) as thread:
        ahead = thread.submit(drawn, 0)
        for epoch in range(count):
            table = ahead.result()
            if epoch + 1 < count:
                ahead = thread.submit(drawn, epoch + 1)
            yield table


def _reference(decoded: Decoded) -> Render:
    out = torch.empty(decoded.views, len(decoded.images), 3, decoded.spec.size, decoded.spec.size)

    def render(times: int) -> Sequence[torch.Tensor]:
        for table in tables(decoded, times):
            for view, rows in zip(out, table, strict=True):
                for slot, row, image in zip(view, rows, decoded.images, strict=True):
                    slot.copy_(reference.render(image, row, decoded.spec))
        return list(out)

    return render


def _numba(decoded: Decoded) -> Render:
    size = decoded.spec.size
    out = np.zeros((decoded.views, len(decoded.images), size, size, 3), np.float32)
    constants, workspace = cpu.render_constants(decoded.spec, "float32"), cpu.Workspace()

    def render(times: int) -> Sequence[torch.Tensor]:
        for table in tables(decoded, times):
            for slot, image in enumerate(decoded.images):
                cpu.render_views(image, table, slot, constants, out, workspace)
        return list(torch.from_numpy(out).permute(0, 1, 4, 2, 3))

    return render


def _triton(decoded: Decoded) -> Render:
    from pipelines.render.gpu import render_views

    lengths = np.array([image.size for image in decoded.images])
    heights, widths = np.array([image.shape[:2] for image in decoded.images], np.int32).T.copy()
    images = Images(
        pixels=torch.from_numpy(np.concatenate([image.ravel() for image in decoded.images])),
        offsets=torch.from_numpy(np.cumsum(lengths) - lengths),
        heights=torch.from_numpy(heights),
        widths=torch.from_numpy(widths),
    )
    on_device = Images(**{name: tensor.to(decoded.device) for name, tensor in vars(images).items()})

    def render(times: int) -> Sequence[torch.Tensor]:
        views = torch.empty(0)
        for table in tables(decoded, times):
            views = render_views(on_device, table, decoded.spec, torch.bfloat16)
        return views.split(len(lengths))

    return render


RENDERERS = {"reference": _reference, "numba": _numba, "triton": _triton}
