"""The backends by name, and the choice among them.

cpu       threads decode; on a GPU our kernels render the views there
dali      DALI decodes (on a GPU: there), our kernels render; where Triton is missing, DALI does
ffcv      FFCV reads a .beton and runs our decoder and CPU renderer in its compiled code
resident  all images are decoded once and stay in the device's memory
fake      one ready batch again and again: the training step's own bound
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Literal

import torch

from pipelines.backends.dali import DaliLoader
from pipelines.backends.fake import FakeLoader
from pipelines.backends.ffcv import FfcvLoader, ffcv_missing
from pipelines.backends.products import TORCH_TYPES, Crops, Pixels, Product, Views
from pipelines.backends.resident import DecodedSource, ResidentLoader, decode_all, decoded_bytes, free_bytes
from pipelines.backends.threads import Loader, ThreadedLoader
from pipelines.batch import Batch
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages
from pipelines.plan.plan import Plan
from pipelines.render.finish import NumberFormat
from pipelines.sources import Source
from pipelines.views import ViewGroup

Pipeline = Literal["auto", "cpu", "dali", "ffcv", "resident", "fake"]
ProductName = Literal["auto", "views", "crops", "pixels"]
_SMALL_SHARE = 0.1  # of the free memory of a GPU: what decoded images may take there unasked


@dataclass(frozen=True, kw_only=True, eq=False)
class Loading:
    """What every backend is told.

    Attributes:
        source: where the encoded images come from.
        groups: the views of a sample.
        plan: which samples form which batch.
        start_step: the first step to load; batches end before ``stop_step``.
        bad_images: takes note of what cannot be decoded.
        device: where batches are handed over.
        number_format: of the views.
        product: of the backend "cpu": "views" are finished by its threads, "crops" and "pixels" on the GPU;
            "auto": pixels for a GPU, otherwise views.
        workers: threads; 0 takes every core.
        prefetch: batches under way beside the one in use.
    """

    source: Source
    groups: tuple[ViewGroup, ...]
    plan: Plan
    start_step: int
    stop_step: int
    bad_images: BadImages
    device: torch.device
    number_format: NumberFormat = "float32"
    product: ProductName = "auto"
    workers: int = 0
    prefetch: int = 3


def choose_pipeline(pipeline: Pipeline, source: Source, device: torch.device) -> tuple[str, str]:
    """A backend's name, and why it was taken.

    Raises:
        UserError: no such backend.
    """
    if pipeline not in ("auto", *BACKENDS):
        raise UserError(f"no pipeline {pipeline!r}: choose among auto, {', '.join(BACKENDS)}")
    missing = ffcv_missing() if pipeline == "ffcv" else None
    if missing is not None:
        return "cpu", f"{missing}; our own reader of .beton files serves instead"
    if pipeline != "auto":
        return pipeline, "as told"
    if device.type != "cuda":
        return "cpu", "no GPU"
    if decoded_bytes(source.index) <= _SMALL_SHARE * free_bytes(device):
        return "resident", "the decoded images take less than a tenth of the GPU's memory"
    if find_spec("nvidia") is not None and find_spec("nvidia.dali") is not None:
        return "dali", "DALI is installed"
    return "cpu", "DALI is not installed"


def open_loader(name: str, loading: Loading) -> Loader:
    """Open a backend of ``choose_pipeline``."""
    return BACKENDS[name](loading)


class RenderedOnDevice:
    """Finishes on the GPU what another loader began (a ``Loader``).

    Args:
        loader: of decoded images or of uint8 crops, on the GPU.
        groups: the views of a sample.
        number_type: of the views.
    """

    def __init__(self, loader: Loader, groups: tuple[ViewGroup, ...], number_type: torch.dtype) -> None:
        self._loader, self._groups, self._number_type = loader, groups, number_type

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        from pipelines.render.gpu import finish_crops, render_views

        batch = next(self._loader)
        specs = [group.spec for group in self._groups]
        if batch.images is not None:
            views = [
                render_views(batch.images, table, spec, self._number_type)
                for table, spec in zip(batch.parameters, specs, strict=True)
            ]
        else:
            views = [
                finish_crops(
                    crops.permute(0, 2, 3, 1).view(*table.shape, spec.size, spec.size, 3),
                    table,
                    spec,
                    self._number_type,
                )
                for crops, table, spec in zip(batch.views, batch.parameters, specs, strict=True)
            ]
        return replace(batch, views=tuple(views), images=None)

    def state_dict(self) -> dict[str, int]:
        """The step to come."""
        return self._loader.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a state."""
        self._loader.load_state_dict(state)

    def close(self) -> None:
        """End the workers."""
        self._loader.close()


def _options(loading: Loading, *more: str) -> dict[str, Any]:
    """What a backend is told, by name."""
    names = ("source", "groups", "plan", "start_step", "stop_step", "device", *more)
    return {name: getattr(loading, name) for name in names}


def _threaded(loading: Loading) -> Loader:
    on_gpu, name = loading.device.type == "cuda", loading.product
    if name == "auto":
        name = "pixels" if on_gpu else "views"
    if name != "views" and not on_gpu:
        raise UserError(f"--product {name} leaves the rest to a GPU, and there is none: use --product views")
    products: dict[str, Product] = {
        "views": Views(loading.number_format),
        "crops": Crops(),
        "pixels": Pixels(),
    }
    options = _options(loading, "bad_images", "workers", "prefetch")
    loader = ThreadedLoader(product=products[name], **options)
    if name != "views":
        return RenderedOnDevice(loader, loading.groups, TORCH_TYPES[loading.number_format])
    return loader


def _dali(loading: Loading) -> Loader:
    ours = loading.device.type != "cuda" or find_spec("triton") is not None
    options = _options(loading, "number_format", "bad_images", "workers", "prefetch")
    return DaliLoader(renderer="fused" if ours else "dali", **options)


def _ffcv(loading: Loading) -> Loader:
    return FfcvLoader(**_options(loading, "number_format", "bad_images", "workers", "prefetch"))


def _resident(loading: Loading) -> Loader:
    if not isinstance(loading.source, DecodedSource):
        decoded = decode_all(loading.source, loading.bad_images, loading.device)
        loading = replace(loading, source=decoded)
    if loading.device.type != "cuda":
        return _threaded(loading)
    return ResidentLoader(**_options(loading, "number_format", "bad_images"))


def _fake(loading: Loading) -> Loader:
    return FakeLoader(**_options(loading, "number_format"))


BACKENDS: dict[str, Callable[[Loading], Loader]] = {
    "cpu": _threaded,
    "dali": _dali,
    "ffcv": _ffcv,
    "resident": _resident,
    "fake": _fake,
}
